"""Damage is noticed and made good; images are compared by layers and by files; what steers overlayfs stays out."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.archives import directory, docker_archive, link, member, tar
from support.needs import need
from wherry.docker.reference import Reference
from wherry.docker.storage_answers import LayerChanges
from wherry.errors import NotFound
from wherry.images.fsck import Finding, Kind, Refetch, Verdict
from wherry.images.store import ImageStore
from wherry.layers.store import Layer
from wherry.layers.tree_digest import tree_digest
from wherry.oci.digest import Digest

pytestmark = need("root")

BASE = tar([directory("d"), member("d/f", b"content", mode=0o644), link("d/l", "f"), link("d/h", "d/f", hard=True)])
TOP = tar([member("d/f", b"changed"), member("d/.wh.l"), member("new", b"n" * 500)])
OTHER = tar([member("d/f", b"content", mode=0o600), member("more", b"m" * 20)])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ImageStore]:
    opened = ImageStore(tmp_path / "data")
    for name, layers in {"base": [BASE], "top": [BASE, TOP], "other": [BASE, OTHER]}.items():
        list(opened.load(io.BytesIO(docker_archive(layers, [name]))))
    yield opened
    opened.close()


def nobody(_: Layer) -> list[str]:
    return []


def no_registry(digest: Digest) -> None:
    raise NotFound(f"nobody has {digest}")


def check(store: ImageStore, refetch: Refetch | None = None) -> list[Finding]:
    return [one for one in store.check(busy=nobody, refetch=refetch) if one.verdict is not Verdict.SOUND]


def file_of(store: ImageStore) -> Path:
    return store.layers.path(store.resolve("base").layers[0]) / "d" / "f"


def flip(path: Path) -> None:
    """Change content as a failing disk does: size and time stay."""
    status = path.stat()
    path.write_bytes(bytes(byte ^ 1 for byte in path.read_bytes()))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def set_attribute(path: Path) -> None:
    os.setxattr(path, "trusted.x", b"1")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "content": flip,
    "missing": lambda path: path.unlink(),
    "mode": lambda path: path.chmod(0o777),
    "owner": lambda path: os.chown(path, 1, 1),
    "time": lambda path: os.utime(path, (1, 1)),
    "attribute": set_attribute,
    "additional": lambda path: path.with_name("x").touch(),
    "link": lambda path: (path.with_name("l").unlink(), path.with_name("l").symlink_to("elsewhere")),
}


def test_nothing_is_found_where_nothing_is_wrong(store: ImageStore) -> None:
    assert check(store) == []
    assert check(store, no_registry) == []


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_layer_is_noticed_and_unpacked_again_and_no_other(store: ImageStore, what: str) -> None:
    others = {layer: os.stat(store.layers.path(layer)).st_ino for layer in store.layers}
    DAMAGES[what](file_of(store))
    [found] = check(store)
    assert (found.kind, found.verdict) == (Kind.LAYER, Verdict.DAMAGED)
    assert set(found.images) == {"base:latest", "top:latest", "other:latest"}
    [repaired] = check(store, no_registry)
    assert repaired.verdict is Verdict.REPAIRED
    assert check(store) == []
    assert file_of(store).read_bytes() == b"content"
    base = store.resolve("base").layers[0]
    now = {layer: os.stat(store.layers.path(layer)).st_ino for layer in store.layers}
    assert {layer for layer in now if now[layer] != others[layer]} == {base}


def test_a_layer_that_has_gone_altogether_is_unpacked_again(store: ImageStore) -> None:
    layer = store.resolve("base").layers[0]
    store.layers.path(layer).rename(store.content.root.parent / "tmp" / "gone")
    [repaired] = check(store, no_registry)
    assert repaired.verdict is Verdict.REPAIRED
    assert tree_digest(store.layers.path(layer)) == store.layers.tree_digest_of(layer)


def test_a_layer_under_a_running_container_is_left_alone(store: ImageStore) -> None:
    file_of(store).chmod(0o777)
    found = [one for one in store.check(busy=lambda _: ["c" * 64], refetch=no_registry) if one.why]
    assert [one.verdict for one in found] == [Verdict.DAMAGED]
    assert "cccccccccccc runs on it: stop it first" in found[0].hint


def test_a_damaged_blob_is_fetched_again_or_left_as_it_is(store: ImageStore) -> None:
    digest = store.resolve("top").manifest.layers[1].digest
    path = store.content.path(digest)
    sound = path.read_bytes()
    path.write_bytes(b"rot")
    [found] = check(store, no_registry)
    assert found.verdict is Verdict.DAMAGED
    assert path.read_bytes() == b"rot"
    fetched: list[Digest] = []

    def registry(wanted: Digest) -> None:
        fetched.append(wanted)
        store.content.ingest([sound], digest=wanted)

    [repaired] = check(store, registry)
    assert (repaired.verdict, fetched) == (Verdict.REPAIRED, [digest])
    assert check(store) == []
    path.unlink()
    assert [one.verdict for one in check(store, registry)] == [Verdict.REPAIRED]
    assert sorted(os.listdir(path.parent)) == sorted(digest.hex for digest, _ in store.content.walk())


def test_an_index_by_which_an_image_is_named_is_fetched_again_and_not_taken_for_rubbish(store: ImageStore) -> None:
    image = store.resolve("top")
    sound = b'{"schemaVersion": 2, "manifests": []}'
    index = Digest.from_bytes(sound)
    with store.lease() as lease:
        lease.blob(index)
        store.content.put(sound)
        store.register(image.id, image.manifest_digest, [Reference.parse("top").with_digest(index)], [index])
    store.content.path(index).write_bytes(b"rot")
    assert [(one.name, one.images) for one in check(store, no_registry)] == [(index, ("top:latest",))]
    [repaired] = check(store, lambda wanted: store.content.ingest([sound], digest=wanted) and None)
    assert repaired.verdict is Verdict.REPAIRED
    assert store.content.read(index) == sound


def test_a_blob_that_nobody_needs_and_that_is_damaged_is_removed(store: ImageStore) -> None:
    path = store.content.path(Digest.from_bytes(b"stray"))
    path.write_bytes(b"rot")
    assert [one.verdict for one in check(store, no_registry)] == [Verdict.REPAIRED]
    assert not path.exists()


def test_a_seal_is_the_same_for_the_same_archive_wherever_it_is_unpacked(store: ImageStore, tmp_path: Path) -> None:
    again = ImageStore(tmp_path / "again")
    list(again.load(io.BytesIO(docker_archive([BASE, TOP], ["top"]))))
    ours, theirs = (
        [opened.layers.tree_digest_of(layer) for layer in opened.resolve("top").layers] for opened in (store, again)
    )
    assert ours == theirs
    assert None not in ours
    again.close()


# --- comparing --------------------------------------------------------------------------------------------------------


def test_images_are_compared_file_by_file(store: ImageStore) -> None:
    found = {one.path: (one.kind, one.before, one.after) for one in store.differences("top", "other")}
    assert found == {"/d/f": (0, 7, 7), "/d/l": (1, 0, 0), "/new": (2, 500, 0), "/more": (1, 0, 20)}
    assert store.differences("top", "top") == []


def test_each_layer_tells_what_it_adds_replaces_and_deletes(store: ImageStore) -> None:
    base, top = store.layer_steps("top")
    assert sorted(base.shared_with) == ["base:latest", "other:latest"]
    assert base.added == LayerChanges(files=3, bytes=7)
    assert top.shared_with == []
    assert top.added == LayerChanges(files=1, bytes=500)
    assert top.replaced == LayerChanges(files=1, bytes=7)
    assert top.deleted == LayerChanges(files=1, bytes=0)


def test_every_layer_knows_its_images(store: ImageStore) -> None:
    sharing = store.sharing()
    users = {layer.chain_id: len(layer.images) for layer in sharing.layers}
    assert users == {str(layer.chain_id): 3 if layer.parent is None else 1 for layer in store.layers}


# --- hostile ----------------------------------------------------------------------------------------------------------


def test_a_device_that_looks_like_a_whiteout_only_deletes_and_steering_attributes_are_dropped(
    store: ImageStore,
) -> None:
    import tarfile  # noqa: PLC0415 - for a kind that the helpers do not make

    device = tarfile.TarInfo("d/f")
    device.type, device.devmajor, device.devminor = tarfile.CHRTYPE, 0, 0
    steered, _ = directory("d")
    names = ("redirect", "metacopy", "origin", "impure", "opaque", "upper")
    steered.pax_headers = {f"SCHILY.xattr.trusted.overlay.{name}": "/base" for name in names}
    steered.pax_headers |= {f"SCHILY.xattr.user.overlay.{name}": "y" for name in names}
    list(store.load(io.BytesIO(docker_archive([BASE, tar([(steered, b""), (device, b"")])], ["hostile"]))))
    image = store.resolve("hostile")
    assert [one.path for one in store.differences("base", "hostile")] == ["/d/f"]
    assert os.listxattr(store.layers.path(image.layers[1]) / "d") == []
