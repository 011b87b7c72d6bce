"""What a name means for a platform: the image, or another part of the index by which it came."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from support.archives import Layout, config, digest, directory, member, named, tar
from wherry.errors import NotFound
from wherry.images.store import ImageStore
from wherry.oci.digest import Digest
from wherry.oci.platform import Platform

MINE = Platform.host()
OTHER = Platform("linux", "s390x")
LAYERS = {MINE: tar([directory("bin")]), OTHER: tar([member("other", b"12345")])}


def nobody(_: object) -> Sequence[str]:
    return []


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ImageStore]:
    store = ImageStore(tmp_path / "data")
    layout = Layout()
    parts = [layout.image([data], platform.architecture) for platform, data in LAYERS.items()]
    layout.index = [layout.nested(parts, annotations=named("docker.io/library/app:1"))]
    list(store.load(io.BytesIO(layout.archive())))
    yield store
    store.close()


def identifier(platform: Platform) -> str:
    return digest(config([LAYERS[platform]], architecture=platform.architecture))


def listed(store: ImageStore) -> set[str]:
    return {str(image.id) for image in store.list()}


def test_a_part_that_is_not_unpacked_is_shown_as_what_the_name_means(store: ImageStore) -> None:
    shown = store.inspect("app:1", platform="linux/s390x")
    assert (shown.id, shown.architecture, shown.repo_tags) == (identifier(OTHER), "s390x", ["app:1"])
    assert shown.root_fs.layers == [digest(LAYERS[OTHER])]
    assert store.history("app:1", "linux/s390x")[0].id == identifier(OTHER)
    assert store.inspect("app:1", platform=str(MINE)).id == identifier(MINE)
    assert listed(store) == {identifier(MINE)}  # nothing was unpacked for it
    with pytest.raises(NotFound, match=r"does not provide the specified platform \(linux/riscv64\)"):
        store.inspect("app:1", platform="linux/riscv64")


def test_a_part_is_unpacked_once_and_goes_with_the_last_name(store: ImageStore) -> None:
    for _ in range(2):
        assert store.variants.unpacked("app:1", OTHER) == identifier(OTHER)
    assert store.resolve("app:1").id == identifier(MINE)
    assert [len(store.get(identifier(one)).layers) for one in LAYERS] == [1, 1]
    store.tag("app:1", "mine:2")
    store.remove("app:1", in_use=nobody)
    assert listed(store) == {identifier(MINE), identifier(OTHER)}
    assert store.variants.unpacked("mine:2", OTHER) == identifier(OTHER)
    gone = {one.deleted for one in store.remove("mine:2", in_use=nobody)}
    assert gone >= {identifier(MINE), identifier(OTHER)}
    assert not listed(store)
    assert not list(store.content.walk())
    assert not list(store.layers)


def test_what_a_container_uses_of_an_index_stays_with_it(store: ImageStore) -> None:
    used = store.variants.unpacked("app:1", OTHER)

    def users(image: Digest) -> Sequence[str]:
        return ["a" * 64] if image == used else []

    store.remove("app:1", in_use=users)
    assert listed(store) == {identifier(OTHER)}
    assert [one.chain_id for one in store.layers] == [one.chain_id for one in store.get(str(used)).layers]


def test_the_archive_of_one_platform_has_that_one_under_the_name(store: ImageStore, tmp_path: Path) -> None:
    for asked in (["linux/s390x"], ["linux/s390x", str(MINE)]):
        written = io.BytesIO()
        store.save(["app:1"], written.write, asked)
        other = ImageStore(tmp_path / str(len(asked)))
        list(other.load(io.BytesIO(written.getvalue())))
        assert str(other.resolve("app:1").id) == identifier(OTHER if len(asked) == 1 else MINE)
        found = {str(one) for one, _ in other.content.walk()}
        assert {identifier(OTHER), identifier(MINE)} & found == {identifier(Platform.parse(one)) for one in asked}
        other.close()


def test_a_name_means_what_suits_this_machine_whatever_part_came_last(store: ImageStore, tmp_path: Path) -> None:
    index = store.index_digest_of(store.resolve("app:1"), "app:1")
    assert index is not None
    name, unpacked = store.resolve("app:1").names[0], store.variants.unpacked("app:1", OTHER)
    manifest = store.get(str(unpacked)).manifest_digest
    with store.lease():
        assert not store.register(unpacked, manifest, [name], [], index)
    assert store.resolve("app:1").id == identifier(MINE)
    # without its row, which is pruned, its blobs are there: it is a part of what has the name
    store.remove(str(unpacked), in_use=nobody)
    assert store.variants.unpacked("app:1", OTHER) == identifier(OTHER)
    assert json.loads(store.content.read(Digest(identifier(OTHER))))["architecture"] == "s390x"
    # another index, or none, takes the name
    assert store.register(unpacked, manifest, [name])
    assert store.resolve("app:1").id == identifier(OTHER)
