"""The engine's own images, made of a build's result. Any user can run these."""

from __future__ import annotations

import base64
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.archives import directory, member, tar
from support.build_products import BEGIN, HOUR, ExportBench, config_of, product, ran
from wherry.build.model.progress import TransferProgress
from wherry.build.model.snapshot import Snapshot
from wherry.errors import InvalidInput
from wherry.oci.digest import Digest
from wherry.oci.platform import Platform
from wherry.oci.times import rfc3339

BASE = tar([directory("bin"), member("bin/sh", b"#!" * 500, mode=0o755)])
ONE = tar([member("one", b"1")])
TWO = tar([member("two", b"22")])
EMPTY = bytes(1024)
HERE = str(Platform.host())


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[ExportBench]:
    made = ExportBench(tmp_path / "data")
    yield made
    made.store.close()


def test_a_result_becomes_an_image_under_all_its_names(bench: ExportBench) -> None:
    made = product({"": bench.layers.snapshot(BASE, ONE)}, config_of([ran("a"), ran("b")]))
    answer = bench.export(made, name="app:1,registry.example/team/app")
    image = bench.image("app:1")
    assert image.repo_tags == ["app:1", "registry.example/team/app:latest"]
    assert answer["containerimage.config.digest"] == image.id
    assert answer["containerimage.digest"] == image.manifest_digest
    assert answer["image.name"] == "docker.io/library/app:1,registry.example/team/app:latest"
    descriptor = json.loads(base64.b64decode(answer["containerimage.descriptor"]))
    assert descriptor["digest"] == image.manifest_digest
    assert descriptor["platform"]["os"] == "linux"
    assert bench.tags == [(image.id, "app:1"), (image.id, "registry.example/team/app:latest")]
    assert [layer.diff_id for layer in image.layers] == [Digest.from_bytes(BASE), Digest.from_bytes(ONE)]


def test_a_result_without_a_name_becomes_an_image_without_one(bench: ExportBench) -> None:
    answer = bench.export(product({"": bench.layers.snapshot(BASE)}, config_of([ran("a")])))
    assert bench.image(answer["containerimage.config.digest"]).names == ()
    assert "image.name" not in answer
    assert bench.tags == []


def test_a_name_moves_from_the_image_that_had_it(bench: ExportBench) -> None:
    bench.export(product({"": bench.layers.snapshot(ONE)}, config_of([ran("a")])), name="app")
    former = bench.image("app")
    bench.export(product({"": bench.layers.snapshot(TWO)}, config_of([ran("b")])), name="app")
    assert bench.image("app").id != former.id
    assert bench.image(str(former.id)).names == ()


def test_a_step_that_changed_nothing_has_an_entry_but_no_layer(bench: ExportBench) -> None:
    steps = [ran("base"), ran("true"), {"created_by": "ENV a=b", "empty_layer": True}, ran("one")]
    made = product({"": bench.layers.snapshot(BASE, EMPTY, ONE)}, config_of(steps))
    bench.export(made, name="app")
    document = bench.document("app")
    assert document["rootfs"]["diff_ids"] == [str(Digest.from_bytes(BASE)), str(Digest.from_bytes(ONE))]
    assert [step.get("empty_layer", False) for step in document["history"]] == [False, True, True, False]
    times = [rfc3339(BEGIN + hours * HOUR) for hours in (0, 2, 2, 2)]
    assert [step["created"] for step in document["history"]] == times
    assert document["created"] == times[-1]


def test_an_empty_layer_of_the_base_stays(bench: ExportBench) -> None:
    ids = [str(Digest.from_bytes(BASE)), str(Digest.from_bytes(EMPTY))]
    base = config_of([ran("x"), ran("y")], rootfs={"type": "layers", "diff_ids": ids})
    made = product(
        {"": bench.layers.snapshot(BASE, EMPTY, ONE)}, config_of([ran("x"), ran("y"), ran("z")]), base_config=base
    )
    bench.export(made, name="app")
    assert len(bench.document("app")["rootfs"]["diff_ids"]) == 3


def test_a_scratch_image_without_layers_is_one(bench: ExportBench) -> None:
    bench.export(product({"": Snapshot()}), name="nothing")
    image = bench.image("nothing")
    assert image.layers == ()
    assert image.platform.normalised() == Platform.host()


def test_the_same_inputs_give_the_same_image_on_two_machines(tmp_path: Path) -> None:
    found = []
    for place in ("here", "there"):
        bench = ExportBench(tmp_path / place)
        if place == "there":  # the layers are made later there
            bench.layers.snapshot(TWO)
        late = tar([member("one", b"1", mtime=1_800_000_000 + len(found))])
        made = product(
            {"": bench.layers.snapshot(BASE, late)},
            config_of([ran("a"), ran("b")], created=f"2026-01-0{1 + len(found)}T00:00:00Z"),
            metadata={"source.date.epoch": b"1600000000"},
        )
        answers = [bench.export(made, name=name, **{"rewrite-timestamp": "true"}) for name in ("app", "app")]
        assert answers[0] == answers[1]
        found.append(answers[0])
        assert bench.document("app")["created"] == "2020-09-13T12:26:40Z"
        bench.store.close()
    assert found[0] == found[1]


def test_only_files_of_new_layers_are_made_older(bench: ExportBench) -> None:
    base = config_of([ran("a")], rootfs={"type": "layers", "diff_ids": [str(Digest.from_bytes(BASE))]})
    made = product(
        {"": bench.layers.snapshot(BASE, ONE)},
        config_of([ran("a", created="2024-01-01T00:00:00Z"), ran("b")]),
        base_config=base,
    )
    bench.export_with(made, {"name": "app", "rewrite-timestamp": "1", "source-date-epoch": "1000000000"})
    image = bench.image("app")
    assert image.layers[0].diff_id == Digest.from_bytes(BASE)
    assert image.layers[1].diff_id != Digest.from_bytes(ONE)
    with bench.store.content.open(image.manifest.layers[1].digest) as file, tarfile.open(fileobj=file) as archive:
        assert [entry.mtime for entry in archive] == [1_000_000_000]
    path = bench.store.layers.path(image.layers[1])
    assert (path / "one").stat().st_mtime == 1_000_000_000
    assert [step["created"] for step in bench.document("app")["history"]] == [
        "2024-01-01T00:00:00Z",
        "2001-09-09T01:46:40Z",
    ]


@pytest.mark.parametrize(("kind", "suffix"), [("gzip", "+gzip"), ("zstd", "+zstd"), ("uncompressed", "")])
def test_layers_are_compressed_as_they_should_be(bench: ExportBench, kind: str, suffix: str) -> None:
    made = product({"": bench.layers.snapshot(BASE, ONE)}, config_of([ran("a"), ran("b")]))
    first = bench.export(made, name="app", compression=kind)
    assert bench.export(made, name="app", compression=kind) == first
    image = bench.image("app")
    assert [layer.media_type.removeprefix("application/vnd.oci.image.layer.v1.tar") for layer in image.manifest.layers]\
        == [suffix, suffix]  # fmt: skip
    assert image.id == first["containerimage.config.digest"]


def test_layers_become_one_for_each_stage_or_a_single_one(bench: ExportBench) -> None:
    base = config_of([ran("a")], rootfs={"type": "layers", "diff_ids": [str(Digest.from_bytes(BASE))]})
    gone = tar([member(".wh.one"), member("bin/.wh.sh"), member("three", b"3")])
    made = product(
        {"": bench.layers.snapshot(BASE, ONE, gone)}, config_of([ran("a"), ran("b"), ran("c")]), base_config=base
    )
    bench.export(made, name="all", layers="all")
    bench.export(made, name="stage", layers="stage")
    bench.export(made, name="none", layers="none")
    assert [len(bench.image(name).layers) for name in ("all", "stage", "none")] == [3, 2, 1]
    assert [names_in(bench, name) for name in ("stage", "none")] == [
        [["bin", "bin/sh"], ["bin", "bin/.wh.sh", "three"]],
        [["bin", "three"]],
    ]
    assert [step.get("empty_layer", False) for step in bench.document("none")["history"]] == [True, True, False]


def names_in(bench: ExportBench, name: str) -> list[list[str]]:
    found = []
    for layer in bench.image(name).manifest.layers:
        with bench.store.content.open(layer.digest) as file, tarfile.open(fileobj=file) as archive:
            found.append([entry.name for entry in archive])
    return found


def test_several_platforms_become_an_index_and_the_one_of_this_machine_is_unpacked(bench: ExportBench) -> None:
    other = "linux/s390x"
    snapshots = {other: bench.layers.snapshot(ONE), HERE: bench.layers.snapshot(TWO)}
    configs = {key: config_of([ran(key)], architecture=Platform.parse(key).architecture) for key in snapshots}
    answer = bench.export(product(snapshots, configs), name="app")
    image = bench.image("app")
    assert image.platform.normalised() == Platform.host()
    tree = bench.store.index_of(image, "app")
    assert tree is not None
    assert tree.is_whole
    assert tree.is_for_several
    assert tree.top.digest == answer["containerimage.digest"]
    assert [str(part.platform) for part in tree.parts] == [other, HERE]
    assert answer["containerimage.config.digest"] == image.id


def test_annotations_go_where_they_are_meant_to(bench: ExportBench) -> None:
    made = product({HERE: bench.layers.snapshot(ONE)}, config_of([ran("a")]))
    answer = bench.export_with(made, {
        "name": "app", "annotation.a": "1", f"annotation-manifest[{HERE}].b": "2", "annotation-index.c": "3",
        "annotation-manifest-descriptor.d": "4", "annotation-index-descriptor.e": "5",
    })  # fmt: skip
    image = bench.image("app")
    assert image.manifest.annotations == {"a": "1", "b": "2"}
    index = json.loads(bench.store.content.read(Digest(answer["containerimage.digest"])))
    assert index["annotations"] == {"c": "3"}
    assert index["manifests"][0]["annotations"] == {"d": "4"}
    assert json.loads(base64.b64decode(answer["containerimage.descriptor"]))["annotations"] == {"e": "5"}


def test_dockers_media_types_are_used_where_they_are_wanted(bench: ExportBench) -> None:
    made = product({"": bench.layers.snapshot(ONE)}, config_of([ran("a")]))
    bench.export_with(made, {"name": "app", "oci-mediatypes": "false", "compression": "gzip"})
    manifest = bench.image("app").manifest
    assert manifest.media_type == "application/vnd.docker.distribution.manifest.v2+json"
    assert manifest.config.media_type == "application/vnd.docker.container.image.v1+json"
    assert [one.media_type for one in manifest.layers] == ["application/vnd.docker.image.rootfs.diff.tar.gzip"]


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"compression": "lzma"}, "unsupported compression type lzma"),
        ({"compression": "zstd", "oci-mediatypes": "0"}, "conflicts with"),
        ({"push": "perhaps"}, "non-bool value specified for push"),
        ({"name": "UPPER"}, "must be lowercase"),
        ({"name": "host"}, "reserved"),
        ({"layers": "some"}, "invalid value 'some' for layers"),
        ({"source-date-epoch": "yesterday"}, "no number of seconds"),
        ({"source-date-epoch": "-1"}, "no number of seconds"),
        ({"annotation-manifest[linux/riscv64].a": "b"}, "no platform linux/riscv64 found"),
        ({"annotation-index.a": "b"}, "index annotations not supported"),
        ({"annotation-other.a": "b"}, "unrecognized annotation type other"),
        ({"compression": "gzip", "compression-level": "99"}, "compression-level 99"),
        ({"name": "app:1", "push": "1", "push-by-digest": "1"}, "can't push tagged ref app:1 by digest"),
    ],
)
def test_options_that_make_no_sense_are_refused(bench: ExportBench, attributes: dict[str, str], words: str) -> None:
    made = product({"": bench.layers.snapshot(ONE)}, config_of([ran("a")]))
    with pytest.raises(InvalidInput, match=words):
        bench.export_with(made, attributes)
    assert not len(bench.store)


@pytest.mark.parametrize(
    "base",
    [b"[]", b"{", b'{"rootfs": {"diff_ids": [7]}}', b'{"rootfs": []}', b'{"history": [1]}', b"[" * 100_000],
)
def test_a_base_whose_configuration_is_none_is_refused(bench: ExportBench, base: bytes) -> None:
    made = product({"": bench.layers.snapshot(ONE)}, config_of([ran("a")]), base_config=base)
    with pytest.raises(InvalidInput, match="base image configuration"):
        bench.export(made, name="app")


@pytest.mark.parametrize(
    "config",
    [
        b'{"os": "linux", "architecture": "amd64", "history": 1}',
        b'{"os": "linux", "architecture": "amd64", "history": [1]}',
        b'{"os": "linux", "architecture": "amd64", "history": [{"created": {"a": 1}}]}',
        b'{"os": "linux", "architecture": "amd64", "config": []}',
        b'{"os": [], "architecture": "amd64"}',
        b"null",
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(bench: ExportBench, config: bytes) -> None:
    made = product({"": bench.layers.snapshot(ONE)}, config)
    with pytest.raises(InvalidInput):
        bench.export(made, name="app")
    assert [*bench.store.content.walk()] == []


def test_nothing_stays_of_an_export_that_fails(bench: ExportBench) -> None:
    made = product({"": bench.layers.snapshot(ONE)}, b'{"os": "linux"}')
    with pytest.raises(InvalidInput, match="missing architecture"):
        bench.export(made, name="app", compression="zstd")
    assert [*bench.store.content.walk()] == []
    assert [*bench.store.layers] == []


def test_what_is_pushed_is_compressed_and_known_by_its_digest(bench: ExportBench) -> None:
    made = product({"": bench.layers.snapshot(ONE)}, config_of([ran("a")]))
    answer = bench.export_with(made, {"name": "registry.example/app:1", "push": "true", "registry.insecure": "true"})
    [(name, tag, options, blobs, documents)] = bench.pushed
    assert (name, tag, options["insecure"]) == ("registry.example/app:1", "1", True)
    assert [one.digest for one in documents] == [answer["containerimage.digest"]]
    assert [one.media_type for one in blobs] == [
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.oci.image.config.v1+json",
    ]
    image = bench.image("registry.example/app:1")
    assert image.repo_digests == [f"registry.example/app@{answer['containerimage.digest']}"]


def test_a_push_by_digest_names_nothing(bench: ExportBench) -> None:
    made = product({"": bench.layers.snapshot(ONE)}, config_of([ran("a")]))
    bench.export_with(made, {"name": "registry.example/app", "push": "true", "push-by-digest": "true"})
    assert bench.pushed[0][1] == ""
    assert [image.repo_tags for image in bench.store.list()] == [[]]


def test_an_image_may_be_pushed_only(bench: ExportBench) -> None:
    made = product({"": bench.layers.snapshot(ONE)}, config_of([ran("a")]))
    bench.export_with(made, {"name": "registry.example/app", "push": "true", "store": "false"})
    assert len(bench.pushed) == 1
    assert not len(bench.store)


def test_progress_says_what_is_done(bench: ExportBench) -> None:
    made = product({"": bench.layers.snapshot(ONE)}, config_of([ran("a")]), events=bench.events)
    bench.export(made, name="app")
    done = [one.name for one in bench.events if isinstance(one, TransferProgress) and one.completed]
    assert done[0] == "exporting layers"
    assert done[-1] == "naming to app:latest"


def test_the_documents_of_a_small_image_are_these_to_the_byte(bench: ExportBench) -> None:
    made = product({"": bench.layers.snapshot(ONE, EMPTY)}, config_of([ran("one"), ran("true")]))
    bench.export(made, name="golden")
    image, layer = bench.image("golden"), Digest.from_bytes(ONE)
    config = (
        '{"architecture":"amd64","config":{"Cmd":["sh"]},"created":"2023-11-14T22:13:20Z","history":['
        '{"comment":"buildkit.dockerfile.v0","created":"2023-11-14T22:13:20Z",'
        '"created_by":"RUN /bin/sh -c one # buildkit"},'
        '{"comment":"buildkit.dockerfile.v0","created":"2023-11-14T22:13:20Z",'
        '"created_by":"RUN /bin/sh -c true # buildkit","empty_layer":true}],'
        f'"os":"linux","rootfs":{{"diff_ids":["{layer}"],"type":"layers"}}}}'
    )
    assert bench.store.content.read(image.id).decode() == config
    assert bench.store.content.read(image.manifest_digest).decode() == (
        f'{{"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{image.id}","size":{len(config)}}},'
        f'"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{layer}","size":{len(ONE)}}}],'
        '"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}'
    )
