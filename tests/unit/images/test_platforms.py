"""Of an image for several platforms one may go: the others stay, and nothing lies around that nobody needs."""

from __future__ import annotations

import contextlib
import io
import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from support.archives import Layout, config, digest, directory, docker_archive, member, named, tar
from wherry.docker.image_answers import ImageDeleted
from wherry.errors import Conflict, CorruptData, InvalidInput, NotFound, Unsupported
from wherry.images.disk_usage import report
from wherry.images.store import ImageStore
from wherry.oci.digest import Digest
from wherry.oci.platform import Platform

BASE = tar([directory("bin"), member("bin/sh", b"#!" * 500, mode=0o755)])
TOP = tar([member("etc/motd", b"hello")])
OTHER = tar([member("other", b"12345")])
MINE = Platform.host().architecture
LAYERS = {MINE: BASE, "s390x": OTHER, "riscv64": TOP}
Records = list[dict[str, str]]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ImageStore]:
    store = ImageStore(tmp_path / "data")
    yield store
    store.close()


def nobody(_: object) -> Sequence[str]:
    return []


class Several:
    """An image for three platforms, with a statement about one of them, loaded as ``app:1``."""

    def __init__(self, store: ImageStore, name: str = "docker.io/library/app:1") -> None:
        self.store = store
        layout = self.layout = Layout()
        self.parts = {architecture: layout.image([data], architecture) for architecture, data in LAYERS.items()}
        note = {"vnd.docker.reference.type": "attestation-manifest"}
        note["vnd.docker.reference.digest"] = self.parts["s390x"]["digest"]
        said = layout.image([b""], "unknown")
        self.statement = {**said, "annotations": note, "platform": {"os": "unknown", "architecture": "unknown"}}
        layout.index = [layout.nested([*self.parts.values(), self.statement], annotations=named(name))]
        self.load()

    def load(self, *platforms: str) -> None:
        list(self.store.load(io.BytesIO(self.layout.archive()), platforms))

    def remove(self, *architectures: str, name: str = "app:1", **options: Any) -> Records:
        wanted = [f"linux/{architecture}" for architecture in architectures]
        return self.store.remove(name, platforms=wanted, **{"force": True, "in_use": nobody, **options})

    def blobs_of(self, descriptor: dict[str, Any]) -> set[str]:
        manifest = json.loads(self.layout.blobs[descriptor["digest"]])
        return {descriptor["digest"], *(one["digest"] for one in [manifest["config"], *manifest["layers"]])}

    def here(self) -> set[str]:
        return {str(found) for found, _ in self.store.content.walk()}


@pytest.fixture
def several(store: ImageStore) -> Several:
    return Several(store)


def test_a_platform_that_is_not_unpacked_goes_with_its_blobs_and_the_statements_about_it(several: Several) -> None:
    before = several.here()
    gone = several.remove("s390x")
    assert gone == [
        ImageDeleted(deleted=one) for one in sorted([several.parts["s390x"]["digest"], several.statement["digest"]])
    ]
    doomed = several.blobs_of(several.parts["s390x"]) | several.blobs_of(several.statement)
    assert before - several.here() == doomed
    assert several.store.resolve("app:1").architecture == MINE
    with pytest.raises(NotFound, match="does not provide the specified platform"):
        several.remove("s390x")


def test_in_place_of_the_unpacked_one_comes_another_with_all_names(
    several: Several, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = several.store
    store.tag("app:1", "mine:2")
    former = store.resolve("app:1")
    gone = several.remove(MINE)
    layers = [str(one.chain_id) for one in former.layers]
    assert gone == [ImageDeleted(deleted=one) for one in [str(former.id), *layers, several.parts[MINE]["digest"]]]
    image = store.resolve("mine:2")
    assert image.id == digest(config([OTHER], architecture="s390x"))
    assert image.repo_tags == ["app:1", "mine:2"]
    assert [str(one.diff_id) for one in store.layers] == [digest(OTHER)]
    assert not several.blobs_of(several.parts[MINE]) & several.here()
    monkeypatch.setattr(store, "_renew_host", lambda: None)  # root's affair
    store.reconcile()
    assert several.blobs_of(several.parts["riscv64"]) <= several.here()


def test_what_is_left_goes_as_one_and_is_the_same_index_elsewhere(several: Several, tmp_path: Path) -> None:
    several.remove("s390x")
    written = io.BytesIO()
    several.store.save(["app:1"], written.write)
    other = ImageStore(tmp_path / "other")
    list(other.load(io.BytesIO(written.getvalue())))
    assert {str(one) for one, _ in other.content.walk()} == several.here()
    removed = other.remove("app:1", platforms=[f"linux/{MINE}"], force=True, in_use=nobody)
    assert ImageDeleted(deleted=several.parts[MINE]["digest"]) in removed
    assert other.resolve("app:1").architecture == "riscv64"
    other.close()


def test_with_the_last_platforms_the_image_goes_whole(several: Several) -> None:
    assert several.remove(*LAYERS)[0] == ImageDeleted(untagged="app:1")
    assert len(several.store) == 0
    assert several.here() == set()
    assert list(several.store.layers) == []


def test_several_platforms_go_at_once_or_none(several: Several) -> None:
    before = several.here()
    with pytest.raises(NotFound, match="linux/ppc64le"):
        several.remove("s390x", "ppc64le")
    assert several.here() == before
    several.remove(MINE, "s390x")
    assert several.store.resolve("app:1").architecture == "riscv64"
    assert several.here() == several.blobs_of(several.parts["riscv64"]) | {several.layout.index[0]["digest"]}


def test_all_names_lose_a_platform_so_it_has_to_be_forced(several: Several) -> None:
    before = several.here()
    with pytest.raises(InvalidInput, match="Content will be removed from all images referencing this variant"):
        several.remove("s390x", force=False)
    assert several.here() == before


def test_a_platform_that_a_container_runs_on_stays(several: Several) -> None:
    identifier = several.store.resolve("app:1").id
    used: dict[str, Any] = {"in_use": lambda image: ["c" * 64] if image == identifier else []}
    with pytest.raises(Conflict, match="image is being used by running container cccccccccccc"):
        several.remove(MINE, running=lambda _: True, **used)
    assert several.store.resolve("app:1").architecture == MINE
    several.remove("s390x", running=lambda _: True, **used)
    assert several.store.resolve("app:1").id == identifier
    # a stopped one keeps what it stands on, out of sight
    several.remove(MINE, **used)
    assert several.store.resolve("app:1").architecture == "riscv64"
    assert several.store.get(identifier).removed
    several.store.release(nobody)
    assert digest(BASE) not in {str(one.diff_id) for one in several.store.layers}


def test_a_platform_that_has_a_name_of_its_own_stays(several: Several) -> None:
    several.load("linux/s390x")  # takes the name
    several.store.tag("app:1", "other:1")
    several.load()
    before = several.here()
    with pytest.raises(Conflict, match="image is referenced in multiple repositories"):
        several.remove("s390x")
    assert several.here() == before
    several.store.remove("other:1", in_use=nobody)
    several.remove("s390x")
    assert not several.blobs_of(several.parts["s390x"]) & several.here()


def test_nothing_that_merely_runs_there_as_well_is_removed(store: ImageStore) -> None:
    layout = Layout()
    layout.index = [
        layout.nested([layout.image([BASE], "386"), layout.image([OTHER], "s390x")], annotations=named("a:1"))
    ]
    list(store.load(io.BytesIO(layout.archive()), ["linux/386"]))
    with pytest.raises(NotFound):
        store.remove("a:1", platforms=["linux/amd64"], force=True, in_use=nobody)
    store.remove("a:1", platforms=["linux/386"], force=True, in_use=nobody)


def test_what_cannot_be_unpacked_here_takes_nobody_s_place(store: ImageStore) -> None:
    layout = Layout()
    windows = layout.image([OTHER], "amd64") | {"platform": {"os": "windows", "architecture": "amd64"}}
    parts = [layout.image([BASE], MINE), windows | {"digest": layout.image([TOP], "riscv64")["digest"]}]
    parts[1]["size"] = len(layout.blobs[parts[1]["digest"]])
    layout.index = [layout.nested(parts, annotations=named("docker.io/library/app:1"))]
    list(store.load(io.BytesIO(layout.archive())))
    with pytest.raises(Unsupported, match="for no platform that can be unpacked here"):
        store.remove("app:1", platforms=[f"linux/{MINE}"], force=True, in_use=nobody)
    assert store.resolve("app:1").architecture == MINE


def test_an_image_that_is_listed_for_several_platforms_is_not_its_own_successor(store: ImageStore) -> None:
    layout = Layout()
    mine = layout.image([BASE], MINE)
    manifest = json.loads(layout.blobs[mine["digest"]]) | {"annotations": {"same": "image"}}
    platform = {"os": "linux", "architecture": "s390x"}
    same = layout.blob(json.dumps(manifest).encode(), manifest["mediaType"], platform=platform)
    layout.index = [layout.nested([mine, same], annotations=named("docker.io/library/app:1"))]
    list(store.load(io.BytesIO(layout.archive())))
    with pytest.raises(Unsupported, match="for no platform that can be unpacked here"):
        store.remove("app:1", platforms=[f"linux/{MINE}"], force=True, in_use=nobody)
    gone = store.remove("app:1", platforms=["linux/s390x"], force=True, in_use=nobody)
    assert gone == [ImageDeleted(deleted=same["digest"])]
    assert store.is_whole(store.resolve("app:1").id)


def test_two_who_remove_platforms_at_once_leave_a_whole_image(several: Several) -> None:
    start = threading.Barrier(3)

    def remove(architecture: str) -> None:
        start.wait()
        with contextlib.suppress(NotFound, Conflict):
            several.remove(architecture)

    threads = [threading.Thread(target=remove, args=(one,)) for one in (MINE, "riscv64", "s390x")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for image in several.store.list():
        assert several.store.is_whole(image.id)
        assert image.repo_tags == ["app:1"]
    needed = several.store.references.blobs()
    assert several.here() == {str(one) for one in needed}


def test_a_successor_that_is_damaged_leaves_everything_as_it_was(several: Several) -> None:
    store = several.store
    [layer] = json.loads(several.layout.blobs[several.parts["riscv64"]["digest"]])["layers"]
    [other] = json.loads(several.layout.blobs[several.parts["s390x"]["digest"]])["layers"]
    for one in (layer, other):
        store.content.path(Digest(one["digest"])).write_bytes(b"\0" * one["size"])
    before = several.here()
    with pytest.raises(CorruptData):
        several.remove(MINE)
    assert store.resolve("app:1").architecture == MINE
    assert several.here() == before
    assert len(list(store.layers)) == 1


# --- what it takes up -------------------------------------------------------------------------------------------------


def test_what_images_take_up_is_what_lies_on_the_disk(several: Several) -> None:
    store = several.store
    list(store.load(io.BytesIO(docker_archive([BASE, TOP], ["child:1"])), ()))
    usage = report(store, nobody)
    sizes = {image.repo_tags[0]: image for image in usage.images}
    assert usage.blobs_size == sum(store.content.path(one).stat().st_size for one, _ in store.content.walk())
    assert usage.layers_size == usage.blobs_size + sum(layer.size for layer in store.layers)
    whole = sum(len(several.layout.blobs[one]) for one in several.here() & several.layout.blobs.keys())
    assert sizes["app:1"].blobs_size == whole
    assert sizes["app:1"].size == store.resolve("app:1").size + whole
    # the unpacked base is shared, the blobs it came in are not: one is compressed
    assert sizes["app:1"].shared_size == sizes["child:1"].shared_size == store.resolve("app:1").size
    unique = {name: one.size - one.shared_size for name, one in sizes.items()}
    freed = store.prune({"dangling": ["false"]}, in_use=lambda one: ["c"] if one == sizes["app:1"].id else [])
    assert freed.space_reclaimed == unique["child:1"]


def test_a_blob_of_two_images_is_shared(several: Several) -> None:
    several.load("linux/s390x")
    [app, former] = sorted(report(several.store, nobody).images, key=lambda one: not one.repo_tags)
    both = several.blobs_of(several.parts["s390x"]) | {several.layout.index[0]["digest"]}
    assert app.shared_size == sum(len(several.layout.blobs[one]) for one in both)
    assert former.shared_size == app.shared_size
