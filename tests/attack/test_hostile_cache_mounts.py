"""A cache mount that is imported holds what its registry says; it is unpacked and copied as root, and leads nowhere.

What comes is unpacked as a layer, mounted, and copied into a directory of the builder's, which steps see later.
"""

from __future__ import annotations

import gzip
import json
import os
import stat
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from support.archives import Member, digest, directory, link, member, tar
from support.cache_shelf import Shelf
from support.needs import need
from support.snapshots import World, world
from wherry.build.files.operations import FileOperations
from wherry.build.model.progress import Progress
from wherry.build.model.request import CacheTarget
from wherry.build.model.session import NoSession
from wherry.build.remote_cache.config import CONFIG_TYPE
from wherry.build.remote_cache.imports import CacheImporter
from wherry.content.threads import Worker
from wherry.errors import CorruptData, InvalidInput, WherryError
from wherry.linux.trees import Files, remove

pytestmark = need("root", "overlay")

KEY = "mine linux"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


class Importing:
    """A builder's import, and a new cache mount.

    :ivar target: the directory that is to be filled.
    """

    def __init__(self, root: Path, here: World) -> None:
        self.here = here
        self.target = root / "target"
        self.target.mkdir()
        self.files = FileOperations(here.snapshots, root / "sums")
        self._worker = Worker()

    def close(self) -> None:
        self.files.close()
        self._worker.close()

    async def run(self, layer: bytes, **lies: Any) -> None:
        """Fill the cache mount with what a registry has.

        :param lies: of the registry, about ``size`` and ``diff_id``.
        """
        shelf, said = Shelf(), list[Progress]()
        shelf.store = self.here.images
        packed, diff_id = gzip.compress(layer), lies.get("diff_id", digest(layer))
        config = json.dumps({
            "layers": [{"blob": digest(packed), "parent": -1, "annotations": {"diffID": diff_id}}],
            "wherry.mounts": [{"key": KEY, "layer": 0}],
        }).encode()  # fmt: skip
        shelf.blobs |= {digest(one): one for one in (packed, config)}
        size = lies.get("size", len(packed))
        shelf.tags["1"] = json.dumps({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": CONFIG_TYPE, "digest": digest(config), "size": len(config)},
            "layers": [{"mediaType": LAYER, "digest": digest(packed), "size": size}],
        }).encode()  # fmt: skip
        importer = CacheImporter(self.here.images, self.here.snapshots, shelf, self._worker)
        imports = importer.imports()
        place = CacheTarget("registry", {"ref": "registry.example/cache:1", "mounts": "true"})
        await importer.open(imports, [place], NoSession(), said.append)
        async with imports.load_mount(KEY) as snapshot:
            await self.files.copy_out(snapshot, self.target)

    def found(self) -> dict[str, os.stat_result]:
        """All that is in the cache mount, by its path."""
        files = Files(self.target)
        return {files.path(name): status for name, status in files}

    def left(self) -> list[Any]:
        """What is kept of the import beside the cache mount."""
        root = self.here.images.content.root.parent
        return [*self.here.images.layers, *self.here.images.content.walk(), *os.listdir(root / "tmp")]


@pytest.fixture
def importing(tmp_path: Path) -> Iterator[Importing]:
    with world(tmp_path / "data") as here:
        made = Importing(tmp_path, here)
        yield made
        made.close()


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory of the host's that nothing may read or change."""
    made = tmp_path / "outside"
    made.mkdir()
    (made / "secret").write_text("secret")
    return made


def ways_out(outside: Path) -> dict[str, list[Member]]:
    """Ways out, as far as one believes a name or a link."""
    up = "../" * 60
    return {
        "links": [link(str(at), to) for at, to in enumerate((str(outside), f"{up}{outside}", "/proc/self/root", ".."))],
        "links to files": [link("a", f"{outside}/secret"), link("d/b", f"{up}{outside}/secret")],
        "a name above": [member(f"{up}{outside}/secret", b"bad")],
        "an absolute name": [member(f"{outside}/secret", b"bad")],
        "through a link": [link("a", str(outside)), member("a/secret", b"bad"), member("a/new", b"bad")],
        "through a link to a link": [link("a", str(outside)), link("b", "a"), directory("b/x"), link("b/x/l", "/")],
        "over a link": [link("a", f"{outside}/secret"), member("a", b"bad", mode=0o6777)],
        "a hard link": [link("a", f"{up}{outside}/secret", hard=True)],
        "a hard link to a link": [link("l", f"{outside}/secret"), link("a", "l", hard=True), member("a", b"bad")],
        "a directory of links": [link("a", str(outside)), directory("a", mode=0o777), member("a/secret", b"bad")],
        "whiteouts": [link("a", str(outside)), member("a/.wh.secret"), member(f"{up}{outside}/.wh.secret")],
    }


@pytest.mark.parametrize("way", ways_out(Path("x")))
async def test_nothing_in_it_leads_out(importing: Importing, outside: Path, way: str) -> None:
    before = os.stat(outside)
    with suppress(WherryError):  # what cannot be inside may be refused
        await importing.run(tar(ways_out(outside)[way]))
    assert os.listdir(outside) == ["secret"]
    assert (outside / "secret").read_text() == "secret"
    after = os.stat(outside)
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
    assert os.stat(outside / "secret").st_nlink == 1
    for path, status in importing.found().items():
        if stat.S_ISREG(status.st_mode):
            assert (importing.target / path).read_bytes() != b"secret"
    assert importing.left() == []


async def test_what_is_no_file_is_what_it_says_and_steers_no_file_system(importing: Importing) -> None:
    steering = {f"SCHILY.xattr.trusted.overlay.{name}": "/../../etc" for name in ("redirect", "opaque", "metacopy")}
    members = [
        directory("d", pax_headers=steering),
        member("d/file", b"1", pax_headers=steering | {"SCHILY.xattr.user.mine": "1"}),
        member("d/.wh.gone"),
        member("d/.wh..wh..opq"),
        member("disk", type=tarfile.BLKTYPE, devmajor=8, devminor=0),
        member("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
        member("mark", type=tarfile.CHRTYPE, devmajor=0, devminor=0),
        member("fifo", type=tarfile.FIFOTYPE),
    ]
    await importing.run(tar(members))
    found = importing.found()
    assert sorted(found) == ["d", "d/file", "disk", "fifo", "null"], "what overlayfs would take for a deletion is none"
    assert [stat.S_IFMT(found[name].st_mode) for name in ("disk", "null", "fifo")] == [
        stat.S_IFBLK, stat.S_IFCHR, stat.S_IFIFO,
    ]  # fmt: skip
    assert os.listxattr(importing.target / "d") == []
    assert os.listxattr(importing.target / "d/file") in (["user.mine"], [])  # where the file system has none


async def test_deep_directories_are_copied_and_those_that_no_name_leads_to_refused(importing: Importing) -> None:
    await importing.run(tar([member("d/" * depth + "file", b"1") for depth in (1, 80, 160)]))
    assert len(importing.found()) == 160 + 3
    remove(importing.target)
    assert not importing.target.exists()
    with pytest.raises(InvalidInput):
        await importing.run(tar([member("d/" * 3000 + "file", b"1")]))
    assert importing.left() == []


async def test_a_file_takes_the_room_of_its_content_however_large_it_says_to_be(importing: Importing) -> None:
    sparse = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(200 << 30)}
    await importing.run(tar([member("large", b"1\n0\n1\n".ljust(512, b"\0") + b"x", pax_headers=sparse)]))
    found = importing.found()["large"]
    assert (found.st_size, found.st_blocks * 512 < 1 << 20) == (200 << 30, True)


@pytest.mark.parametrize(
    ("lies", "kind"),
    [
        ({"size": 1}, WherryError),
        ({"size": 1 << 40}, WherryError),
        ({"diff_id": digest(b"something else")}, CorruptData),
    ],
)
async def test_a_registry_that_lies_about_it_fills_nothing(
    importing: Importing, lies: dict[str, Any], kind: type[WherryError]
) -> None:
    with pytest.raises(kind):
        await importing.run(tar([member("file", b"1")]), **lies)
    assert importing.found() == {}
    assert importing.left() == []
