"""The image store: loading, naming, listing, saving, removing. Any user can run these."""

from __future__ import annotations

import gzip
import io
import json
import os
import sqlite3
import tarfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard

from support.archives import Layout, config, digest, directory, docker_archive, member, named, tar
from wherry.docker.image_answers import ImageDeleted, RootFs
from wherry.docker.reference import Reference
from wherry.errors import Conflict, CorruptData, InvalidInput, NotFound, SystemFault, TooLarge, WherryError
from wherry.images.store import ImageStore
from wherry.layers.limits import Limits
from wherry.oci.digest import Digest
from wherry.oci.platform import Platform

BASE = tar([directory("bin"), member("bin/sh", b"#!" * 500, mode=0o755)])
TOP = tar([member("etc/motd", b"hello")])
OTHER = tar([member("other", b"12345")])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ImageStore]:
    opened = ImageStore(tmp_path / "data")
    yield opened
    opened.close()


def load(store: ImageStore, archive: bytes, *platforms: str) -> list[str]:
    steps = list(store.load(io.BytesIO(archive), platforms))
    assert os.listdir(store.content.root.parent / "tmp") == []
    return [step["stream"].strip() for step in steps if "stream" in step]


def nobody(_: Digest) -> list[str]:
    return []


def on_disk(store: ImageStore) -> tuple[set[str], set[str]]:
    return {str(d) for d, _ in store.content.walk()}, set(os.listdir(store.layers.root)) - {"0"}


def test_a_layer_whose_row_cannot_be_written_leaves_no_tree(store: ImageStore) -> None:
    root = store.content.root.parent
    with closing(sqlite3.connect(root / "wherry.db")) as connection:
        connection.execute("CREATE TRIGGER full BEFORE INSERT ON layers BEGIN SELECT RAISE(ABORT, 'no room'); END")
        with pytest.raises(SystemFault):
            list(store.load(io.BytesIO(docker_archive([BASE], ["app:1"]))))
        assert on_disk(store)[1] == set()
        assert os.listdir(root / "tmp") == []
        connection.execute("DROP TRIGGER full")
    assert load(store, docker_archive([BASE], ["app:1"])) == ["Loaded image: app:1"]


# --- loading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.ZstdCompressor().compress], ids=["tar", "gz", "zst"])
def test_a_docker_archive_is_loaded_however_it_is_compressed(store: ImageStore, pack: Any) -> None:
    said = load(store, pack(docker_archive([BASE, TOP], ["app:1", "me/app:2"])))
    assert said == ["Loaded image: app:1", "Loaded image: me/app:2"]
    image = store.resolve("app:1")
    assert image.id == digest(config([BASE, TOP]))
    assert image.repo_tags == ["app:1", "me/app:2"]
    assert [layer.size for layer in image.layers] == [1000, 5]
    [mount] = image.overlay(Path("/c"))
    assert (Path(mount.lower[0]) / "etc/motd").read_bytes() == b"hello"
    assert (Path(mount.lower[1]) / "bin/sh").stat().st_mode & 0o777 == 0o755
    assert (mount.target, mount.upper, mount.work) == ("/", "/c/upper", "/c/work")


def test_an_oci_archive_for_several_platforms_gives_the_one_that_fits(store: ImageStore) -> None:
    layout = Layout()
    mine = Platform.host().architecture
    manifests = [layout.image([OTHER], "s390x"), layout.image([BASE], mine)]
    layout.index = [layout.nested(manifests, annotations=named("docker.io/library/app:latest"))]
    assert load(store, layout.archive()) == ["Loaded image: app:latest"]
    assert store.resolve("app").architecture == mine
    former = digest(config([BASE], architecture=mine))
    moved, loaded = load(store, layout.archive(), "linux/s390x")
    assert moved == f"The image app:latest already exists, renaming the old one with ID {former} to empty string"
    assert loaded == "Loaded image: app:latest"
    assert store.resolve("app").architecture == "s390x"
    with pytest.raises(NotFound, match=r"no match for platform in manifest: linux/riscv64 \(there are: linux/"):
        load(store, layout.archive(), "linux/riscv64")


def test_an_index_may_lack_the_other_platforms(store: ImageStore) -> None:
    layout = Layout()
    absent = layout.image([OTHER], "s390x")
    layout.index = [layout.nested([absent, layout.image([BASE], Platform.host().architecture)])]
    del layout.blobs[absent["digest"]]
    [said] = load(store, layout.archive())
    assert said.startswith("Loaded image ID: sha256:")
    with pytest.raises(InvalidInput, match="lacks the manifest"):
        load(store, layout.archive(), "linux/s390x")


def test_of_an_archive_for_other_machines_the_first_platform_that_is_whole_is_unpacked_and_the_rest_kept(
    store: ImageStore,
) -> None:
    layout = Layout()
    cut, *whole = [layout.image([data], name) for data, name in ((TOP, "ppc64le"), (OTHER, "s390x"), (BASE, "mips64"))]
    layout.index = [layout.nested([cut, *whole], annotations=named("docker.io/library/app:1"))]
    del layout.blobs[json.loads(layout.blobs[cut["digest"]])["layers"][0]["digest"]]
    assert load(store, layout.archive()) == ["Loaded image: app:1"]
    assert store.resolve("app:1").architecture == "s390x"
    written = bytearray()
    store.save(["app:1"], written.extend)
    with tarfile.open(fileobj=io.BytesIO(written)) as archive:
        names = archive.getnames()
    assert {f"blobs/sha256/{one['digest'].removeprefix('sha256:')}" for one in whole} <= set(names)


def test_a_tag_alone_in_an_oci_archive_is_no_name(store: ImageStore) -> None:
    layout = Layout()
    layout.index = [layout.image([BASE], annotations={"org.opencontainers.image.ref.name": "latest"})]
    [said] = load(store, layout.archive())
    assert said == f"Loaded image ID: {digest(config([BASE]))}"


def test_attestations_are_passed_over(store: ImageStore) -> None:
    layout = Layout()
    note = layout.blob(b"{}", "application/vnd.oci.image.manifest.v1+json")
    note |= {"annotations": {"vnd.docker.reference.type": "attestation-manifest"}}
    layout.index = [layout.nested([layout.image([BASE], Platform.host().architecture), note])]
    assert len(load(store, layout.archive())) == 1


def broken(what: str) -> bytes:
    layout = Layout()
    image = layout.image([BASE])
    layout.index = [image]
    layers = [name for name, data in layout.blobs.items() if data[:2] == b"\x1f\x8b"]
    if what == "missing layer":
        del layout.blobs[layers[0]]
    elif what == "wrong digest":
        layout.blobs[layers[0]] = gzip.compress(OTHER, mtime=0)
    elif what == "wrong size":
        image["size"] += 1
    elif what == "missing manifest":
        del layout.blobs[image["digest"]]
    return layout.archive()


def nest(depth: int, width: int = 1) -> bytes:
    layout = Layout()
    descriptor = layout.image([BASE], Platform.host().architecture)
    for _ in range(depth):
        descriptor = layout.nested([descriptor] * width)
    layout.index = [descriptor]
    return layout.archive()


def cycle() -> bytes:
    """An index that names itself; nobody can make one whose digest is right."""
    layout = Layout()
    itself = {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": "sha256:" + "1" * 64, "size": 188}
    layout.blobs[str(itself["digest"])] = json.dumps({"schemaVersion": 2, "manifests": [itself]}).encode()
    itself["size"] = len(layout.blobs[str(itself["digest"])])
    layout.index = [itself]
    return layout.archive()


def docker_json(manifest: Any, *others: tuple[tarfile.TarInfo, bytes]) -> bytes:
    return tar([*others, member("manifest.json", json.dumps(manifest).encode())])


BAD_ARCHIVES = {
    "no archive": (b"x" * 5000, CorruptData, "no tar archive"),
    "nothing": (b"", InvalidInput, "holds no images"),
    "a root file system": (BASE, InvalidInput, "imported, not loaded"),
    "missing layer": (broken("missing layer"), InvalidInput, "lacks the layer"),
    "wrong digest": (broken("wrong digest"), CorruptData, "has digest"),
    "wrong size": (broken("wrong size"), CorruptData, "bytes, not"),
    "missing manifest": (broken("missing manifest"), InvalidInput, "lacks the manifest"),
    "too deep": (nest(10), TooLarge, "nested too deeply"),
    "too many": (nest(5, width=20), TooLarge, "nested too deeply, or too many"),
    "a cycle": (cycle(), CorruptData, "has digest"),
    "truncated": (docker_archive([BASE], ["a"])[:3000], CorruptData, "ends too early"),
    "truncated gzip": (gzip.compress(docker_archive([BASE], ["a"]))[:-20], CorruptData, "gzip data"),
    "config missing": (docker_json([{"Config": "c", "Layers": []}]), InvalidInput, "lacks the image configuration"),
    "config outside": (docker_json([{"Config": "../../etc/passwd", "Layers": []}]), InvalidInput, "leads out"),
    "layers do not match": (
        docker_json([{"Config": "c", "Layers": []}], member("c", config([BASE]))), InvalidInput, "expected 1, got 0",
    ),
    "layer is something else": (
        docker_json([{"Config": "c", "Layers": ["l"]}], member("c", config([BASE])), member("l", TOP)),
        CorruptData, "unpacks to diff ID",
    ),
    "manifest is no list": (docker_json({}), InvalidInput, "invalid manifest.json"),
    "bad name": (
        docker_json([{"Config": "c", "RepoTags": ["Foo"], "Layers": []}], member("c", config([]))),
        InvalidInput, "must be lowercase",
    ),
    "reserved name": (docker_archive([BASE], ["host:latest"]), InvalidInput, "'host' is a reserved name"),
    "links in a circle": (
        tar([member("manifest.json", type=tarfile.SYMTYPE, linkname="manifest.json")]), InvalidInput, "leads to itself",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD_ARCHIVES)
def test_a_bad_archive_is_refused_and_leaves_nothing(store: ImageStore, what: str) -> None:
    data, kind, message = BAD_ARCHIVES[what]
    with pytest.raises(kind, match=message):
        list(store.load(io.BytesIO(data)))
    assert os.listdir(store.content.root.parent / "tmp") == []
    store.release(nobody)
    assert on_disk(store) == (set(), set())
    assert len(store) == 0


def test_a_nesting_that_is_reasonable_is_loaded(store: ImageStore) -> None:
    assert len(load(store, nest(3))) == 1


def test_a_load_that_is_given_up_leaves_nothing(store: ImageStore) -> None:
    steps = store.load(io.BytesIO(docker_archive([BASE, TOP], ["app"])))
    next(steps)
    steps.close()  # type: ignore[attr-defined]
    assert os.listdir(store.content.root.parent / "tmp") == []
    store.release(nobody)
    assert on_disk(store) == (set(), set())


def test_many_loads_at_once_unpack_each_layer_once(store: ImageStore) -> None:
    archives = [docker_archive([BASE, TOP], [f"app:{number}"], author=str(number)) for number in range(8)]
    errors: list[WherryError] = []

    def work(data: bytes) -> None:
        try:
            list(store.load(io.BytesIO(data)))
        except WherryError as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=[data]) for data in archives]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(store) == 8
    assert len(on_disk(store)[1]) == 2


def test_a_layer_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    store = ImageStore(tmp_path / "data", Limits(max_bytes=2000))
    with pytest.raises(TooLarge):
        list(store.load(io.BytesIO(docker_archive([BASE], ["a"]))))
    store.close()


# --- looking ----------------------------------------------------------------------------------------------------------


def test_images_are_found_by_name_id_and_beginning_of_an_id(store: ImageStore) -> None:
    load(store, docker_archive([BASE], ["app:1"]))
    image = store.resolve("app:1")
    for text in (image.id, image.id.hex, image.id.short, f"sha256:{image.id.hex[:20]}", "docker.io/library/app:1"):
        assert store.resolve(text) == image
    assert store.id_of("app:1") == image.id
    assert store.names_of(image.id) == ["app:1"]
    assert (store.id_of("nope"), store.names_of("sha256:" + "0" * 64)) == ("", [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nope", "No such image: nope:latest"),
        ("me/nope:3", "No such image: me/nope:3"),
        ("a" * 64, f"No such image: sha256:{'a' * 64}"),
        ("deadbeef", "No such image: deadbeef:latest"),
    ],
)
def test_missing_images_are_missing_in_the_words_of_docker(store: ImageStore, text: str, message: str) -> None:
    with pytest.raises(NotFound) as caught:
        store.resolve(text)
    assert str(caught.value) == message


def test_state_survives_a_restart(store: ImageStore) -> None:
    load(store, docker_archive([BASE, TOP], ["app:1"]))
    again = ImageStore(store.content.root.parent)
    assert again.resolve("app:1") == store.resolve("app:1")
    again.close()


def test_filters_choose_as_in_docker(store: ImageStore) -> None:
    labels = {"a": "1", "b": "2"}
    old = docker_archive([BASE], ["one:1", "me/one:1"], created="2020-01-01T00:00:00Z", config={"Labels": labels})
    load(store, old)
    load(store, docker_archive([TOP], ["two:2"], created="2024-01-01T00:00:00.123456789Z"))
    load(store, docker_archive([OTHER], [], created="2022-01-01T00:00:00Z"))

    def names(**filters: list[str]) -> list[list[str]]:
        return [image.repo_tags for image in store.list(filters)]

    assert names() == [["two:2"], [], ["one:1", "me/one:1"]]
    assert names(dangling=["true"]) == [[]]
    assert names(dangling=["false"]) == [["two:2"], ["one:1", "me/one:1"]]
    assert names(label=["a"]) == names(label=["a=1", "b"]) == [["one:1", "me/one:1"]]
    assert names(label=["a=2"]) == []
    assert names(reference=["one"]) == [["one:1"]]
    assert names(reference=["*/one", "t*"]) == [["two:2"], ["me/one:1"]]
    assert names(before=["two:2"]) == [[], ["one:1", "me/one:1"]]
    assert names(since=["one:1"]) == [["two:2"], []]
    assert names(until=["2021-01-01T00:00:00Z"]) == [["one:1", "me/one:1"]]
    assert len(names(until=["1h30m"])) == 3
    for bad in ({"colour": ["red"]}, {"dangling": ["maybe"]}, {"until": ["soon"]}, {"reference": ["["]}):
        with pytest.raises(InvalidInput):
            store.list(bad)
    with pytest.raises(NotFound):
        store.list({"before": ["nope"]})


def test_inspect_and_history_tell_what_docker_tells(store: ImageStore) -> None:
    steps = [{"created": "2024-01-01T00:00:00Z", "created_by": "ADD"}, {"created_by": "CMD", "empty_layer": True},
             {"created_by": "COPY", "comment": "buildkit"}]  # fmt: skip
    load(store, docker_archive([BASE, TOP], ["app:1"], history=steps, author="me", variant="v1"))
    image = store.inspect("app:1")
    assert image.id == store.resolve("app:1").id
    assert image.root_fs == RootFs("layers", [digest(BASE), digest(TOP)])
    assert (image.size, image.author, image.config) == (1005, "me", {"Cmd": ["sh"]})
    assert image.created == "2024-01-02T03:04:05Z"
    history = store.history("app:1")
    assert [(row.created_by, row.size) for row in history] == [("COPY", 5), ("CMD", 0), ("ADD", 1000)]
    assert [row.id for row in history] == [image.id, "<missing>", "<missing>"]
    assert history[0].tags == ["app:1"]
    assert history[2].created == 1704067200


def test_every_answer_is_plain_json(store: ImageStore) -> None:
    load(store, docker_archive([BASE, TOP], ["app:1"]))
    answers = [store.inspect("app:1"), store.history("app:1"), store.summaries({}, in_use=nobody)]
    answers += [store.remove("app:1", in_use=nobody), store.prune({}, in_use=nobody)]
    load(store, docker_archive([BASE], []))
    answers.append(store.prune({}, in_use=nobody))
    for answer in answers:
        assert msgspec.json.decode(msgspec.json.encode(answer)) == msgspec.to_builtins(answer)


def test_summaries_count_shared_bytes_and_containers(store: ImageStore) -> None:
    load(store, docker_archive([BASE, TOP], ["one"]))
    load(store, docker_archive([BASE], ["two"]))
    by_name = {s.repo_tags[0]: s for s in store.summaries({}, shared_size=True, in_use=lambda _: ["c"])}
    assert {name: (s.size, s.shared_size, s.containers) for name, s in by_name.items()} == {
        "one:latest": (1005, 1000, 1), "two:latest": (1000, 1000, 1),
    }  # fmt: skip
    assert store.layers.size() == 1005


# --- saving, importing ------------------------------------------------------------------------------------------------


def test_what_is_saved_is_a_docker_archive_and_a_layout_and_loads_again(store: ImageStore, tmp_path: Path) -> None:
    load(store, docker_archive([BASE, TOP], ["app:1", "app:2"]))
    load(store, docker_archive([BASE], []))
    unnamed = next(image for image in store.list() if not image.names)
    written = io.BytesIO()
    store.save(["app", unnamed.id], written.write)
    with tarfile.open(fileobj=io.BytesIO(written.getvalue())) as archive:
        members = {info.name: archive.extractfile(info).read() for info in archive if info.isfile()}  # type: ignore[union-attr]
        read = {name: json.loads(members[name]) for name in ("manifest.json", "index.json", "repositories")}
        for image in read["manifest.json"]:
            for name in [image["Config"], *image["Layers"]]:
                assert digest(members[name]) == "sha256:" + name.rpartition("/")[2]
    assert [image["RepoTags"] for image in read["manifest.json"]] == [["app:1", "app:2"], None]
    assert len(read["index.json"]["manifests"]) == 3
    assert set(read["repositories"]) == {"app"}
    second = ImageStore(tmp_path / "second")
    assert load(second, written.getvalue())[:2] == ["Loaded image: app:1", "Loaded image: app:2"]
    assert {image.id for image in second.list()} == {image.id for image in store.list()}
    second.close()


def test_saving_what_is_not_there_fails_before_anything_is_written(store: ImageStore) -> None:
    load(store, docker_archive([BASE], ["app:1"]))
    written: list[bytes] = []
    for names, platforms in ((["app:1", "nope"], []), (["app:1"], ["linux/s390x"])):
        with pytest.raises(NotFound):
            store.save(names, written.append, platforms)
    assert written == []


def test_a_root_file_system_is_imported_with_changes(store: ImageStore) -> None:
    packed = gzip.compress(BASE)
    identifier = store.import_(io.BytesIO(packed), "mine:1", ['CMD ["sh"]', "USER 1"], "a note", "linux/arm64")
    image = store.inspect("mine:1")
    assert image.id == identifier
    assert image.config == {"Cmd": ["sh"], "User": "1"}
    assert (image.architecture, image.os, image.comment) == ("arm64", "linux", "a note")
    assert image.root_fs.layers == [digest(BASE)]
    assert store.history("mine:1")[0].comment == "a note"


@pytest.mark.parametrize(
    ("data", "name", "changes"),
    [(b"garbage" * 500, "x", []), (BASE, "Foo", []), (BASE, "x", ["FROM y"]), (BASE, "x@sha256:" + "0" * 64, [])],
    ids=["garbage", "name", "change", "digest"],
)
def test_a_bad_import_leaves_nothing(store: ImageStore, data: bytes, name: str, changes: list[str]) -> None:
    with pytest.raises(WherryError):
        store.import_(io.BytesIO(data), name, changes)
    store.release(nobody)
    assert on_disk(store) == (set(), set())
    assert os.listdir(store.content.root.parent / "tmp") == []


# --- names and removing -----------------------------------------------------------------------------------------------


def test_tagging_takes_a_name_from_the_image_that_had_it(store: ImageStore) -> None:
    load(store, docker_archive([BASE], ["one"]))
    load(store, docker_archive([TOP], ["two"]))
    store.tag("two", "one:latest")
    assert store.resolve("one") == store.resolve("two")
    index = json.loads((store.content.root / "index.json").read_text())
    assert {m.get("annotations", {}).get("io.containerd.image.name") for m in index["manifests"]} == {
        "docker.io/library/one:latest", "docker.io/library/two:latest", None,
    }  # fmt: skip
    for bad in ("Foo", "x@sha256:" + "0" * 64, "host", "host:2", "", "sha256:abc", "sha512"):
        with pytest.raises(InvalidInput):
            store.tag("two", bad)
    with pytest.raises(NotFound):
        store.tag("nope", "x")


def test_removing_the_last_name_removes_the_image_and_what_only_it_needed(store: ImageStore) -> None:
    load(store, docker_archive([BASE, TOP], ["one", "uno"]))
    load(store, docker_archive([BASE], ["two"]))
    image = store.resolve("one")
    assert store.remove("uno", in_use=nobody) == [ImageDeleted(untagged="uno:latest")]
    assert store.remove("one", in_use=nobody) == [
        ImageDeleted(untagged="one:latest"),
        ImageDeleted(deleted=str(image.id)),
        ImageDeleted(deleted=str(image.layers[1].chain_id)),
    ]
    assert len(on_disk(store)[1]) == 1
    store.remove("two", in_use=nobody)
    assert on_disk(store) == (set(), set())


def test_removal_conflicts_are_worded_as_docker_words_them(store: ImageStore) -> None:
    load(store, docker_archive([BASE], ["one", "me/one"]))
    image = store.resolve("one")
    container = "c0ffee" * 10 + "abcd"

    def conflict(text: str, *, users: list[str], running: bool = False, force: bool = False) -> str:
        with pytest.raises(Conflict) as caught:
            store.remove(text, force=force, in_use=lambda _: users, running=lambda _: running)
        return str(caught.value)

    short = image.id.short
    assert conflict(short, users=[]) == (
        f"conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
    )
    assert conflict(short, users=[container], running=True, force=True) == (
        f"conflict: unable to delete {short} (cannot be forced) - "
        f"image is being used by running container {container[:12]}"
    )
    store.remove("me/one", in_use=lambda _: [container])
    assert conflict("one", users=[container]) == (
        'conflict: unable to remove repository reference "one" (must force) - '
        f"container {container[:12]} is using its referenced image {short}"
    )
    assert conflict(short, users=[container]) == (
        f"conflict: unable to delete {short} (must be forced) - "
        f"image is being used by stopped container {container[:12]}"
    )
    assert store.resolve("one") == store.resolve(short)


def test_an_image_removed_by_force_stays_for_its_containers_until_they_go(store: ImageStore, tmp_path: Path) -> None:
    load(store, docker_archive([BASE], ["one"]))
    identifier = store.resolve("one").id
    users = ["c" * 64]
    records = store.remove("one", force=True, in_use=lambda _: users)
    assert records == [ImageDeleted(untagged="one:latest"), ImageDeleted(deleted=str(identifier))]
    assert store.list() == []
    with pytest.raises(NotFound):
        store.resolve(identifier)
    [mount] = store.get(identifier).overlay(tmp_path)
    assert (Path(mount.lower[0]) / "bin/sh").exists()
    load(store, docker_archive([BASE], ["again"]))
    assert store.resolve("again").id == identifier
    store.remove("again", force=True, in_use=lambda _: users)
    users.clear()
    store.release(lambda _: users)
    assert on_disk(store) == (set(), set())


def test_prune_removes_unnamed_images_or_all_unused_ones(store: ImageStore) -> None:
    load(store, docker_archive([BASE], ["kept"]))
    load(store, docker_archive([TOP], ["used"]))
    load(store, docker_archive([OTHER], []))
    used = store.resolve("used").id
    first = store.prune({}, in_use=lambda image: ["c"] if image == used else [])
    assert ImageDeleted(deleted=digest(config([OTHER]))) in first.images_deleted
    assert first.space_reclaimed > 5
    assert len(store) == 2
    second = store.prune({"dangling": ["false"]}, in_use=lambda image: ["c"] if image == used else [])
    assert second.images_deleted[0] == ImageDeleted(untagged="kept:latest")
    assert [image.repo_tags for image in store.list()] == [["used:latest"]]
    assert store.prune({}, in_use=nobody).images_deleted is None


def test_an_image_that_only_a_digest_names_is_dangling_and_goes_with_the_others(store: ImageStore) -> None:
    load(store, docker_archive([BASE], ["moved"]))
    old = store.resolve("moved")
    by_digest = Reference.parse("moved").with_digest(old.manifest_digest)
    store.register(old.id, old.manifest_digest, [by_digest])
    load(store, docker_archive([TOP], ["moved"]))
    assert [image.id for image in store.list({"dangling": ["true"]})] == [old.id]
    pruned = store.prune({}, in_use=nobody).images_deleted
    assert pruned[:2] == [ImageDeleted(untagged=by_digest.familiar), ImageDeleted(deleted=str(old.id))]
    assert [image.repo_tags for image in store.list()] == [["moved:latest"]]


def test_what_happens_to_an_image_while_it_is_pruned_stops_nothing(store: ImageStore) -> None:
    for layer, name in ((BASE, "named"), (TOP, "removed"), (OTHER, "other")):
        load(store, docker_archive([layer], [name]))
    named, removed = store.resolve("named").id, store.resolve("removed").id
    busy: list[str] = []  # removing looks as well

    def meanwhile(image: Digest) -> list[str]:
        if image in (named, removed) and image not in busy:
            busy.append(image)
            if image == named:
                store.tag("named", "again")
            else:
                store.remove("removed", in_use=nobody)
        return []

    pruned = store.prune({"dangling": ["false"]}, in_use=meanwhile).images_deleted
    assert ImageDeleted(untagged="other:latest") in pruned
    assert ImageDeleted(deleted=str(named)) not in pruned
    assert [image.repo_tags for image in store.list()] == [["again:latest"]]


def test_nothing_that_is_being_loaded_is_swept_away(store: ImageStore) -> None:
    load(store, docker_archive([OTHER], ["other"]))
    steps = store.load(io.BytesIO(docker_archive([BASE, TOP], ["app"])))
    next(steps), next(steps)
    store.remove("other", in_use=nobody)
    list(steps)
    assert store.resolve("app").layers
    [mount] = store.resolve("app").overlay(Path("/c"))
    assert all(Path(lower).is_dir() for lower in mount.lower)
    assert digest(OTHER) not in on_disk(store)[0]


def test_a_damaged_image_does_not_keep_the_others_from_working(store: ImageStore) -> None:
    load(store, docker_archive([BASE], ["good"]))
    load(store, docker_archive([TOP], ["bad"]))
    store.content.path(store.resolve("bad").id).write_bytes(b"rot")
    again = ImageStore(store.content.root.parent)
    assert [image.repo_tags for image in again.list()] == [["good:latest"]]
    again.close()
