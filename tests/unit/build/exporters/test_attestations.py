"""Statements about images: what is in them, and what never is. Any user can run these."""

from __future__ import annotations

import base64
import json
import sqlite3
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.archives import directory, link, member, tar
from support.build_products import ExportBench, TakingSession, config_of, product, ran
from wherry.build.exporters.contract import Product
from wherry.build.model.graph import (
    Bind,
    BuildMount,
    Edge,
    ExecOp,
    Metadata,
    NetworkMode,
    Secret,
    SecretEnv,
    SourceOp,
    SourceRange,
    Vertex,
)
from wherry.build.model.request import FrontResult, Ref
from wherry.errors import InvalidInput
from wherry.oci.digest import Digest

FILES = tar([member("file", b"1")])
BASE = SourceOp("docker-image://docker.io/library/base:1")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[ExportBench]:
    made = ExportBench(tmp_path / "data")
    yield made
    made.store.close()


def steps(source: SourceOp = BASE, **fields: Any) -> tuple[Edge, Vertex]:
    """A step on an image, and the image's vertex."""
    base = Vertex.of(source)
    options: dict[str, Any] = {
        "args": ("/bin/sh", "-c", "make"), "mounts": (BuildMount("/", Bind(), 0, output=0),), **fields,
    }  # fmt: skip
    metadata = Metadata(ranges=(SourceRange(2, 0, 2, 8),), file="Dockerfile")
    return Vertex.of(ExecOp(**options), [base.output()], metadata=metadata).output(), base


def made_of(bench: ExportBench, edge: Edge, options: dict[str, str], **fields: Any) -> Product:
    plain = product({"": bench.layers.snapshot(FILES)}, config_of([ran("make")]), options=options, **fields)
    result = FrontResult(
        refs={"": Ref(edge=edge, config=config_of([ran("make")]))}, sources={"Dockerfile": b"FROM base"}
    )
    return replace(plain, result=result)


def statements(bench: ExportBench, answer: dict[str, str]) -> dict[str, Any]:
    """The statements of an export, by the types of their predicates."""
    index = json.loads(bench.store.content.read(Digest(answer["containerimage.digest"])))
    image, about = index["manifests"]
    assert about["platform"] == {"architecture": "unknown", "os": "unknown"}
    assert about["annotations"] == {
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": image["digest"],
    }
    manifest = json.loads(bench.store.content.read(Digest(about["digest"])))
    found = {}
    for layer in manifest["layers"]:
        assert layer["mediaType"] == "application/vnd.in-toto+json"
        statement = json.loads(bench.store.content.read(Digest(layer["digest"])))
        assert statement["_type"] == "https://in-toto.io/Statement/v1"
        assert statement["predicateType"] == layer["annotations"]["in-toto.io/predicate-type"]
        assert {one["digest"]["sha256"] for one in statement["subject"]} == {Digest(image["digest"]).hex}
        found[statement["predicateType"]] = statement
    return found


def test_the_least_provenance_names_materials_but_no_arguments(bench: ExportBench) -> None:
    edge, base = steps(network=NetworkMode.NONE)
    options = {"attest:provenance": "mode=min", "build-arg:TOKEN": "hunter2", "filename": "Dockerfile", "target": "app"}
    pins = {base.digest: [("pkg:docker/base@1", "sha256:" + "a" * 64)]}
    answer = bench.export(made_of(bench, edge, options, pins=pins), name="app:1")
    statement = statements(bench, answer)["https://slsa.dev/provenance/v1"]
    assert [one["name"] for one in statement["subject"]] == ["pkg:docker/app@1?platform=linux%2Famd64"]
    definition, details = statement["predicate"]["buildDefinition"], statement["predicate"]["runDetails"]
    assert definition["resolvedDependencies"] == [{"uri": "pkg:docker/base@1", "digest": {"sha256": "a" * 64}}]
    assert definition["externalParameters"]["request"] == {"frontend": "dockerfile.v0", "args": {"target": "app"}}
    assert definition["externalParameters"]["configSource"] == {"path": "Dockerfile"}
    assert "buildConfig" not in definition["internalParameters"]
    assert details["metadata"]["buildkit_hermetic"] is True
    assert details["metadata"]["buildkit_completeness"] == {"request": False, "resolvedDependencies": True}
    assert "hunter2" not in json.dumps(statement)


def test_the_most_has_the_steps_and_the_dockerfile_but_neither_secrets_nor_passwords(bench: ExportBench) -> None:
    mount = BuildMount("/run/secrets/key", Secret("key"), -1)
    edge, _ = steps(
        mounts=(BuildMount("/", Bind(), 0, output=0), mount),
        secret_env=(SecretEnv("token", "TOKEN"),),
        proxy_env=("http_proxy=http://me:hunter2@proxy",),
    )
    options = {
        "attest:provenance": "", "build-arg:A": "1", "context": "https://me:hunter2@git.example/repo.git#main",
        "vcs:source": "https://hunter2@git.example/repo",
    }  # fmt: skip
    answer = bench.export(made_of(bench, edge, options), name="app")
    statement = statements(bench, answer)["https://slsa.dev/provenance/v1"]
    definition = statement["predicate"]["buildDefinition"]
    request = definition["externalParameters"]["request"]
    assert request["args"]["build-arg:A"] == "1"
    assert request["secrets"] == [{"id": "key"}, {"id": "token"}]
    assert definition["externalParameters"]["configSource"]["uri"] == "https://xxxxx@git.example/repo.git#main"
    config = definition["internalParameters"]["buildConfig"]
    assert [step["op"]["type"] for step in config["llbDefinition"]] == ["source", "exec"]
    assert config["llbDefinition"][1]["inputs"] == ["step0:0"]
    assert config["digestMapping"][str(edge.vertex.digest)] == "step1"
    source = statement["predicate"]["runDetails"]["metadata"]["buildkit_metadata"]["source"]
    assert source["infos"][0]["filename"] == "Dockerfile"
    assert source["locations"]["step1"]["locations"][0]["ranges"][0]["start"] == {"line": 2, "character": 0}
    assert "hunter2" not in json.dumps(statement)


def test_the_older_form_of_provenance_is_made_where_it_is_wanted(bench: ExportBench) -> None:
    edge, _ = steps()
    options = {"attest:provenance": "version=v0.2,mode=min,builder-id=https://ci.example.com"}
    answer = bench.export(made_of(bench, edge, options), name="app")
    found = statements(bench, answer)["https://slsa.dev/provenance/v0.2"]["predicate"]
    assert found["buildType"] == "https://mobyproject.org/buildkit@v1"
    assert found["builder"] == {"id": "https://ci.example.com"}
    assert found["metadata"]["buildInvocationID"] == "build"
    assert "https://mobyproject.org/buildkit@v1#hermetic" not in found["metadata"]


def test_with_an_epoch_the_same_inputs_give_the_same_index_to_each_client(bench: ExportBench) -> None:
    answers = []
    for number in range(2):
        edge, _ = steps(SourceOp("local://context", {"local.session": f"session {number}"}))
        made = made_of(bench, edge, {"attest:provenance": "mode=max"})
        result = replace(made.result, metadata={"source.date.epoch": b"1000000000"})
        answers.append(bench.export(replace(made, result=result, started=made.started + number), name="app"))
    assert answers[0] == answers[1]


def test_statements_may_be_artifacts_that_say_what_they_are_about(bench: ExportBench) -> None:
    edge, _ = steps()
    made = made_of(bench, edge, {"attest:provenance": ""})
    answer = bench.export_with(made, {"name": "app", "oci-artifact": "true"})
    index = json.loads(bench.store.content.read(Digest(answer["containerimage.digest"])))
    manifest = json.loads(bench.store.content.read(Digest(index["manifests"][1]["digest"])))
    assert manifest["subject"]["digest"] == index["manifests"][0]["digest"]
    assert manifest["artifactType"] == "application/vnd.docker.attestation.manifest.v1+json"
    assert manifest["config"]["data"] == "e30="


def test_what_is_only_for_images_is_in_no_archive(bench: ExportBench) -> None:
    edge, _ = steps()
    session = TakingSession()
    made = made_of(bench, edge, {"attest:provenance": "mode=min,inline-only=true"}, session=session)
    answer = bench.export_with(made, {"name": "app"}, "docker")
    assert json.loads(base64.b64decode(answer["containerimage.descriptor"]))["mediaType"].endswith("manifest.v1+json")


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"attest:provenance": "mode=most"}, InvalidInput, "invalid mode"),
        ({"attest:provenance": "version=v3"}, InvalidInput, "SLSA version"),
        ({"attest:horoscope": ""}, InvalidInput, "unknown attestation type"),
        ({"attest:provenance": '"'}, InvalidInput, "failed to parse"),
    ],
)
def test_statements_that_make_no_sense_are_refused(
    bench: ExportBench, options: dict[str, str], kind: type[Exception], words: str
) -> None:
    edge, _ = steps()
    with pytest.raises(kind, match=words):
        bench.export(made_of(bench, edge, options), name="app")


def test_no_statement_is_made_where_it_is_switched_off(bench: ExportBench) -> None:
    edge, _ = steps()
    for text in ("disabled=true", "false"):
        answer = bench.export(made_of(bench, edge, {"attest:provenance": text}), name="app")
        assert answer["containerimage.digest"] == bench.image("app").manifest_digest


# --- scanner images -------------------------------------------------------------------------------

SPDX = "https://spdx.dev/Document"


def scanned(bench: ExportBench, *written: bytes) -> tuple[dict[str, str], list[object]]:
    """An image whose files a scanner has looked at, and how it was asked."""
    asked: list[object] = []

    async def scan(generator: str, parameters: Mapping[str, str], key: str) -> Sequence[bytes]:
        asked.extend([generator, dict(parameters), key])
        return written

    edge, _ = steps()
    options = {"attest:sbom": "generator=example.com/scanner:1,FORMAT=all,inline-only=false"}
    return bench.export(made_of(bench, edge, options, scan=scan), name="app"), asked


def test_a_scanner_says_what_is_in_an_image(bench: ExportBench) -> None:
    statement = {"_type": "https://in-toto.io/Statement/v0.1", "predicateType": SPDX, "predicate": {"name": "found"}}
    answer, asked = scanned(bench, json.dumps(statement).encode())
    assert asked == ["example.com/scanner:1", {"FORMAT": "all"}, ""]
    assert statements(bench, answer)[SPDX]["predicate"] == {"name": "found"}
    answer, _ = scanned(bench, b'{"spdxVersion": "SPDX-2.3"}')
    assert statements(bench, answer)[SPDX]["predicate"] == {"spdxVersion": "SPDX-2.3"}


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ((), "has written nothing"),
        ((b"x",), "no JSON"),
        ((b"[" * 100_000,), "no JSON"),
        ((b'{"predicateType": "https://slsa.dev/provenance/v1", "predicate": {}}',), "required predicate type"),
        ((b'{"predicateType": "https://spdx.dev/Document", "predicate": []}',), "required predicate type"),
    ],
)
def test_a_scanner_that_says_something_else_fails_the_build(
    bench: ExportBench, written: tuple[bytes, ...], words: str
) -> None:
    with pytest.raises(InvalidInput, match=words):
        scanned(bench, *written)


# --- bills of materials -----------------------------------------------------------------------------

DPKG = b"""Package: bash
Status: install ok installed
Architecture: amd64
Version: 5.2+dfsg-1
Description: shell
 of many words

Package: gone
Status: deinstall ok config-files
Version: 1
"""
APK = b"P:musl\nV:1.2.4-r2\nA:x86_64\nL:MIT\n\nP:zlib\nV:1.3-r0\nA:x86_64\n"


def rpm_header(**words: str) -> bytes:
    tags = {"name": 1000, "version": 1001, "release": 1002, "arch": 1022}
    store, entries = b"", b""
    for name, value in words.items():
        entries += struct.pack(">IIiI", tags[name], 6, len(store), 1)
        store += value.encode() + b"\0"
    return struct.pack(">II", len(words), len(store)) + entries + store


def rpmdb(path: Path, *headers: bytes, table: str = "CREATE TABLE Packages (hnum INTEGER, blob BLOB)") -> bytes:
    with closing(sqlite3.connect(path)) as database:
        database.execute(table)
        for one in headers:
            database.execute("INSERT INTO Packages VALUES (1, ?)", (one,))
        database.commit()
    return path.read_bytes()


def packages_of(bench: ExportBench, *archives: bytes) -> dict[str, dict[str, Any]]:
    made = product({"": bench.layers.snapshot(*archives)}, config_of(), options={"attest:sbom": ""})
    answer = bench.export(made, name="app")
    document = statements(bench, answer)["https://spdx.dev/Document"]["predicate"]
    assert document["spdxVersion"] == "SPDX-2.3"
    listed = document["packages"][1:]
    assert len(document["relationships"]) == len(listed) + 1
    return {one["externalRefs"][0]["referenceLocator"]: one for one in listed}


def test_a_bill_of_materials_lists_what_all_managers_have_installed(bench: ExportBench, tmp_path: Path) -> None:
    rpm = rpmdb(tmp_path / "rpmdb", rpm_header(name="glibc", version="2.38", release="1", arch="x86_64"), b"nonsense")
    site = "usr/lib/python3/dist-packages"
    archive = tar([
        member("etc/os-release", b'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian 12"\n'),
        member("var/lib/dpkg/status", DPKG), member("lib/apk/db/installed", APK),
        member("var/lib/rpm/rpmdb.sqlite", rpm),
        member(f"{site}/My_Lib-1.0.dist-info/METADATA", b"Name: My_Lib\nVersion: 1.0\n\nName: no"),
        member("app/node_modules/left-pad/package.json", b'{"name": "left-pad", "version": "1.3.0"}'),
        member("app/node_modules/@a/b/package.json", b'{"name": "@a/b", "version": "2.0.0", "license": "MIT"}'),
        member("app/package.json", b'{"name": "own", "version": "0.0.0"}'),
    ])  # fmt: skip
    assert set(packages_of(bench, archive)) == {
        "pkg:deb/debian/bash@5.2%2Bdfsg-1?arch=amd64&distro=debian-12",
        "pkg:apk/debian/musl@1.2.4-r2?arch=x86_64&distro=debian-12",
        "pkg:apk/debian/zlib@1.3-r0?arch=x86_64&distro=debian-12",
        "pkg:rpm/debian/glibc@2.38-1?arch=x86_64&distro=debian-12",
        "pkg:pypi/my-lib@1.0",
        "pkg:npm/left-pad@1.3.0",
        "pkg:npm/%40a/b@2.0.0",
    }


def test_what_a_later_layer_deleted_is_not_listed(bench: ExportBench) -> None:
    first = tar([directory("lib"), member("lib/apk/db/installed", APK)])
    assert packages_of(bench, first, tar([member("lib/apk/db/.wh.installed")])) == {}


def test_odd_files_are_passed_over(bench: ExportBench, tmp_path: Path) -> None:
    view = "CREATE VIEW Packages AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x FROM c) SELECT x AS blob FROM c"
    archive = tar([
        link("var/lib/dpkg/status", "/etc/shadow"),
        member("lib/apk/db/installed", b"P:\nV:\n\n" + b"\xff" * 100),
        member("var/lib/rpm/rpmdb.sqlite", rpmdb(tmp_path / "view", table=view)),
        member("usr/lib/sysimage/rpm/rpmdb.sqlite", b"SQLite format 3\0" + b"\xff" * 5000),
        member("node_modules/a/package.json", b"[" * 100_000),
        member("node_modules/b/package.json", b'["name"]'),
        member("node_modules/c/package.json", b'{"name": {"a": 1}, "version": 2}'),
        member("x.dist-info/METADATA", b"\0" * 1000),
    ])  # fmt: skip
    assert packages_of(bench, archive) == {}
