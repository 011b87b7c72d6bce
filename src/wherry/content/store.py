"""The content store: an OCI image layout (image-layout.md) in which every blob got by the recipe of `durable`."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, Final

from wherry.content.durable import disk_errors, publish, replace_file, sync_directory, temporary_name, write_all
from wherry.errors import CorruptData, InvalidInput, NotFound, OutOfSpace, TooLarge
from wherry.oci.codec import encode
from wherry.oci.digest import Digest
from wherry.oci.manifest import Descriptor, Index
from wherry.oci.media_types import OCI_INDEX

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

__all__ = ["MAX_DOCUMENT", "ContentStore", "Staged"]

#: What a manifest, an index or a configuration may weigh. Distribution's registries draw the line at 4 MiB as well.
MAX_DOCUMENT: Final = 4 * 1024 * 1024


class Staged:
    """A blob that is being written; it counts for nothing until :meth:`commit`.

    Leaving the ``with`` block without having committed removes it. Not to be shared between threads.

    :param path: the temporary file; made here.
    :param store: where it will belong.
    :param algorithm: that of the digest that is computed on the way.
    :param hashed: False when somebody else computes the digest of the same bytes, for :meth:`commit_as`.
    """

    def __init__(self, path: Path, store: ContentStore, algorithm: str = "sha256", *, hashed: bool = True) -> None:
        self.path: Final = path
        self.size = 0
        self._store = store
        self._committed = False
        self._hashed = hashed
        self._hash = Digest(f"{algorithm}:" + "0" * {"sha256": 64, "sha384": 96, "sha512": 128}[algorithm]).hasher()
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes.

        :raises OutOfSpace: the disk is full.
        """
        if self._hashed:
            self._hash.update(data)
        self.size += len(data)
        with disk_errors("write a blob"):
            write_all(self._fd, data)

    def need(self, size: int) -> None:
        """Ask for room, before a lot is written; nothing is set aside.

        :param size: bytes.
        :raises OutOfSpace: the disk has less: better nobody else has to do without what is left of it.
        """
        with disk_errors("ask for room"):
            found = os.fstatvfs(self._descriptor())
        if found.f_bfree * found.f_frsize < size:
            raise OutOfSpace(f"{size} bytes are wanted, and the disk has {found.f_bfree * found.f_frsize} left")

    @property
    def digest(self) -> Digest:
        """The digest of what was written so far."""
        return Digest.from_hash(self._hash)

    def open(self) -> BinaryIO:
        """Read, from its start, what was written so far; also when it is a blob by now."""
        return (self._store.path(self.digest) if self._committed else self.path).open("rb")

    def read(self, limit: int = MAX_DOCUMENT) -> bytes:
        """All that was written so far.

        :raises TooLarge: that is more than `limit` bytes.
        """
        if self.size > limit:
            raise TooLarge(f"a document of {self.size} bytes, where {limit} are allowed")
        return os.pread(self._descriptor(), self.size, 0)

    def close(self) -> None:
        """Give the descriptor back but keep the file, for many staged blobs at once; nothing more can be appended."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def commit(self, digest: Digest | None = None, size: int | None = None) -> Digest:
        """Make it a blob of the store, durably; doing so again has no effect.

        :param digest: what it has to be.
        :param size: how many bytes it has to have.
        :raises CorruptData: it is something else.
        """
        found = self.digest
        if self._committed:
            return found
        if size is not None and size != self.size:
            raise CorruptData(f"blob {digest or found} has {self.size} bytes, not {size}")
        if digest is not None and digest != found:
            raise CorruptData(f"content has digest {found}, not {digest}")
        self.commit_as(found)
        return found

    def commit_as(self, digest: Digest) -> None:
        """Make it a blob of the store, durably, without looking at it once more.

        :param digest: what was found out while the same bytes were read or written.
        """
        self._store._adopt(self._descriptor(), self.path, digest)
        self._committed = True
        self.close()

    def discard(self) -> None:
        """Remove it, unless it was committed."""
        self.close()
        self.path.unlink(missing_ok=True)

    def _descriptor(self) -> int:
        if self._fd < 0:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        return self._fd

    def __enter__(self) -> Staged:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()


class ContentStore:
    """Blobs by digest. Safe to use from several threads: blobs never change, and appear by a rename.

    :param root: the layout's directory; made when missing.
    :param tmp: a directory on the same file system for what is unfinished; its owner empties it at start.
    """

    def __init__(self, root: Path, tmp: Path) -> None:
        self.root: Final = root
        self._tmp = tmp
        self._blobs = root / "blobs"
        with disk_errors("make the content store"):
            (self._blobs / "sha256").mkdir(parents=True, exist_ok=True)
            tmp.mkdir(parents=True, exist_ok=True)
        if not (root / "oci-layout").exists():
            replace_file(root / "oci-layout", b'{"imageLayoutVersion":"1.0.0"}', tmp)
            self.write_index([])

    def stage(self, algorithm: str = "sha256", *, hashed: bool = True) -> Staged:
        """Begin a blob that is written piece by piece; see `Staged`."""
        with disk_errors("write a blob"):
            return Staged(temporary_name(self._tmp, "blob"), self, algorithm, hashed=hashed)

    def ingest(self, chunks: Iterable[bytes], *, digest: Digest | None = None, size: int | None = None) -> Digest:
        """Store a blob from its pieces.

        :param digest: what it has to be; found out when not given.
        :param size: how many bytes it has to have.
        :raises CorruptData: it is something else.
        :raises OutOfSpace: the disk is full; nothing of it is left.
        """
        with self.stage(digest.algorithm if digest else "sha256") as staged:
            for chunk in chunks:
                staged.write(chunk)
                if size is not None and staged.size > size:
                    raise CorruptData(f"blob {digest or ''} has more than the {size} bytes that it should have")
            return staged.commit(digest, size)

    def temporary(self) -> Path:
        """A name for an unfinished file, removed at the next start after a crash."""
        return temporary_name(self._tmp, "blob")

    def adopt(self, path: Path, digest: Digest) -> None:
        """Make a file a blob, durably; the file, on the same file system, is gone afterwards.

        :param digest: what the file was verified to be.
        """
        with disk_errors("store a blob"):
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                self._adopt(fd, path, digest)
            finally:
                os.close(fd)

    def adopt_synced(self, files: Mapping[Digest, Path]) -> None:
        """Make files blobs whose bytes are on disk already; one sync makes all their names durable."""
        with disk_errors("store a blob"):
            for digest, path in files.items():
                self.path(digest).parent.mkdir(exist_ok=True)
                path.rename(self.path(digest))
            for directory in {self.path(digest).parent for digest in files}:
                sync_directory(directory)

    def put(self, data: bytes) -> Digest:
        """Store a small blob."""
        return self.ingest([data])

    def open(self, digest: Digest) -> BinaryIO:
        """Open a blob for reading; the caller closes it.

        :raises NotFound: there is no such blob.
        """
        try:
            return self.path(digest).open("rb")
        except FileNotFoundError as exc:
            raise NotFound(f"no such blob: {digest}") from exc

    def read(self, digest: Digest, limit: int = MAX_DOCUMENT) -> bytes:
        """A small blob's bytes, verified.

        :raises NotFound: there is no such blob.
        :raises TooLarge: it is bigger than `limit`.
        :raises CorruptData: the disk does not hold any more what was written.
        """
        with self.open(digest) as file:
            size = os.fstat(file.fileno()).st_size  # to ask for `limit` bytes would be to allocate as many
            data = file.read(size) if size <= limit else b""
        if size > limit:
            raise TooLarge(f"blob {digest} is larger than the {limit} bytes allowed for a document")
        digest.verify(data)
        return data

    def size(self, digest: Digest) -> int:
        """How many bytes a blob has.

        :raises NotFound: there is no such blob.
        """
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError as exc:
            raise NotFound(f"no such blob: {digest}") from exc

    def __contains__(self, digest: Digest) -> bool:
        return self.path(digest).exists()

    def holds(self, digest: Digest, size: int) -> bool:
        """Whether a blob is there with as many bytes as it should have: after a power cut, files may be empty."""
        try:
            return self.path(digest).stat().st_size == size
        except FileNotFoundError:
            return False

    def delete(self, digest: Digest) -> None:
        """Remove a blob; nothing happens when there is none."""
        self.path(digest).unlink(missing_ok=True)

    def walk(self) -> Iterator[tuple[Digest, int]]:
        """All blobs with their sizes; other files are ignored."""
        for algorithm in sorted(self._blobs.iterdir()):
            for entry in os.scandir(algorithm):
                with suppress(InvalidInput, FileNotFoundError):
                    yield Digest(f"{algorithm.name}:{entry.name}"), entry.stat().st_size

    def total(self) -> int:
        """The bytes of all blobs."""
        return sum(size for _, size in self.walk())

    def path(self, digest: Digest) -> Path:
        """Where a blob is, or would be."""
        return self._blobs / digest.algorithm / digest.hex

    def write_index(self, manifests: Sequence[Descriptor]) -> None:
        """Replace ``index.json``, which tells other tools the names of the images in this layout.

        The database knows them, and each start writes it anew: two syncs for each name would be for nothing.
        """
        index = Index(manifests=list(manifests), schema_version=2, media_type=OCI_INDEX)
        replace_file(self.root / "index.json", encode(index), self._tmp, durable=False)

    def _adopt(self, fd: int, staged: Path, digest: Digest) -> None:
        final = self.path(digest)
        with disk_errors("store a blob"):
            if self.holds(digest, os.fstat(fd).st_size):
                staged.unlink(missing_ok=True)
                return
            os.fsync(fd)
            final.parent.mkdir(exist_ok=True)
            publish(staged, final)
