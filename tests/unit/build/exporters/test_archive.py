"""Archives of images and of files, as they are sent to the client. Any user can run these."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.archives import directory, link, member, tar
from support.build_products import ExportBench, TakingSession, config_of, product, ran
from wherry.build.model.session import NoSession
from wherry.errors import InvalidInput, NotFound
from wherry.images.store import ImageStore
from wherry.oci.digest import Digest

BASE = tar([directory("bin"), member("bin/sh", b"#!" * 500, mode=0o755)])
TOP = tar([member("top", b"1"), link("soft", "top"), member("bin/.wh.sh"), link("hard", "top", hard=True)])


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[ExportBench]:
    made = ExportBench(tmp_path / "data")
    yield made
    made.store.close()


def unpacked(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        files = {entry.name: archive.extractfile(entry) for entry in archive if entry.isfile()}
        return {name: file.read() for name, file in files.items() if file is not None}


@pytest.mark.parametrize("kind", ["oci", "docker"])
def test_an_archive_is_loaded_by_an_image_store(bench: ExportBench, tmp_path: Path, kind: str) -> None:
    session = TakingSession()
    made = product({"": bench.layers.snapshot(BASE, TOP)}, config_of([ran("a"), ran("b")]), session=session)
    answer = bench.export_with(made, {"name": "app:1,other"}, kind)
    assert session.attributes["0"] == answer
    other = ImageStore(tmp_path / "other")
    try:
        steps = list(other.load(io.BytesIO(session.files["0"])))
        assert {"stream": "Loaded image: app:1\n"} in steps
        image = other.resolve("app:1")
        assert image.id == answer["containerimage.config.digest"]
        assert [layer.media_type.rpartition("+")[2] for layer in image.manifest.layers] == ["gzip", "gzip"]
        if kind == "oci":
            assert image.manifest_digest == answer["containerimage.digest"]
    finally:
        other.close()
    assert not len(bench.store)
    assert [*bench.store.content.walk()] == []


def test_a_docker_archive_lists_its_names_and_layers(bench: ExportBench) -> None:
    session = TakingSession()
    made = product({"": bench.layers.snapshot(BASE)}, config_of([ran("a")]), session=session)
    bench.export_with(made, {"name": "app"}, "docker")
    files = unpacked(session.files["0"])
    [listed] = json.loads(files["manifest.json"])
    assert listed["RepoTags"] == ["app:latest"]
    assert all(name in files for name in [listed["Config"], *listed["Layers"]])
    bench.export_with(made, {"name": "app"}, "oci")
    assert "manifest.json" not in unpacked(session.files["0"])


def test_the_same_archive_is_made_twice(bench: ExportBench) -> None:
    session = TakingSession()
    made = product({"": bench.layers.snapshot(BASE)}, config_of([ran("a")]), session=session)
    found = []
    for _ in range(2):
        bench.export_with(made, {}, "oci")
        found.append(session.files["0"])
    assert found[0] == found[1]


def test_several_platforms_go_into_an_oci_archive_but_into_none_of_dockers(bench: ExportBench) -> None:
    session = TakingSession()
    snapshots = {"linux/amd64": bench.layers.snapshot(BASE), "linux/arm64": bench.layers.snapshot(TOP)}
    made = product(snapshots, config_of([ran("a")]), session=session)
    answer = bench.export_with(made, {}, "oci")
    files = unpacked(session.files["0"])
    top = files[f"blobs/sha256/{Digest(answer['containerimage.digest']).hex}"]
    assert [one["platform"]["architecture"] for one in json.loads(top)["manifests"]] == ["amd64", "arm64"]
    with pytest.raises(InvalidInput, match="manifest lists"):
        bench.export_with(made, {}, "docker")


def test_an_image_goes_blob_by_blob_into_a_directory_of_the_clients(bench: ExportBench) -> None:
    session = TakingSession()
    made = product({"": bench.layers.snapshot(BASE)}, config_of([ran("a")]), session=session)
    answer = bench.export_with(made, {"tar": "false"}, "oci")
    blobs = session.stores["export"]
    manifest = json.loads(blobs[Digest(answer["containerimage.digest"])])
    assert {one["digest"] for one in [manifest["config"], *manifest["layers"]]} <= set(blobs)


def test_files_go_into_an_archive_without_what_was_deleted(bench: ExportBench) -> None:
    session = TakingSession()
    made = product({"": bench.layers.snapshot(BASE, TOP)}, config_of([ran("a")]), session=session)
    assert bench.export_with(made, {"source-date-epoch": "1000000000"}, "tar") == {}
    with tarfile.open(fileobj=io.BytesIO(session.files["0"])) as archive:
        entries = list(archive)
    assert {entry.name for entry in entries} == {"bin", "hard", "soft", "top"}
    assert {entry.mtime for entry in entries} == {1_000_000_000}
    assert [entry.linkname for entry in entries if entry.islnk()] == ["hard"]


def test_files_of_several_platforms_go_into_directories_of_their_own(bench: ExportBench) -> None:
    session = TakingSession()
    snapshots = {"linux/amd64": bench.layers.snapshot(BASE), "linux/arm/v7": bench.layers.snapshot(TOP)}
    made = product(snapshots, session=session)
    bench.export_with(made, {}, "tar")
    names = set(unpacked(session.files["0"]))
    assert {"linux_amd64/bin/sh", "linux_arm_v7/hard"} <= names
    with pytest.raises(InvalidInput, match="platform-split=false"):
        bench.export_with(made, {"platform-split": "false"}, "tar")


def test_the_files_of_an_empty_result_are_an_empty_archive(bench: ExportBench) -> None:
    session = TakingSession()
    bench.export_with(product({"": bench.layers.snapshot()}, session=session), {}, "tar")
    assert unpacked(session.files["0"]) == {}


@pytest.mark.parametrize("kind", ["oci", "docker", "tar"])
def test_a_client_that_takes_nothing_is_told_so(bench: ExportBench, kind: str) -> None:
    made = product({"": bench.layers.snapshot(BASE)}, config_of([ran("a")]), session=NoSession())
    with pytest.raises(NotFound, match="takes no files"):
        bench.export_with(made, {}, kind)
    assert [*bench.store.content.walk()] == []


def test_an_unknown_kind_of_output_is_refused(bench: ExportBench) -> None:
    with pytest.raises(InvalidInput, match="could not be found"):
        bench.export_with(product({"": bench.layers.snapshot(BASE)}), {}, "floppy")
