"""Layers in another form: compressed otherwise, with older files, or several as one. Each becomes a blob of its own.

The same layer in the same form is always the same bytes: nothing here depends on time or place. All of this is work for
threads.
"""

from __future__ import annotations

import zlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, Final, Protocol

import zstandard

from wherry.content.durable import disk_errors
from wherry.content.store import ContentStore, Staged
from wherry.content.threads import Check
from wherry.distribution.transfer.compress import INPUT, compressor
from wherry.errors import CorruptData
from wherry.images.blob_sources import BlobSources, Packed
from wherry.images.reference_counts import Lease
from wherry.layers.compression import Compression
from wherry.layers.overlay_view import MergedTree
from wherry.layers.pack import Packer
from wherry.layers.source import Source
from wherry.layers.tar import writer
from wherry.layers.tar.entry import MAX_NAME, Entry
from wherry.layers.tar.reader import TarReader
from wherry.linux.trees import unrolled
from wherry.oci import media_types
from wherry.oci.digest import Digest
from wherry.oci.manifest import Descriptor

__all__ = ["LayerForms", "compression_of", "typed"]

_GZIP: Final = 31  # window bits: 15, and 16 for a gzip header
_ZSTD_LEVEL: Final = 3
_ZSTD_HIGHEST: Final = 19  # what is beyond takes a gigabyte of memory
_ZEROS: Final = bytes(1 << 20)
_DOCKER_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar"
_FOREIGN: Final = ("nondistributable", "foreign")


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


def compression_of(media_type: str) -> Compression:
    """How a layer of a media type is compressed."""
    if media_type.endswith(("+gzip", ".gzip")):
        return Compression.GZIP
    return Compression.ZSTD if media_type.endswith(("+zstd", ".zstd")) else Compression.PLAIN


def typed(layer: Descriptor, *, oci: bool) -> Descriptor:
    """A layer under the OCI's media type, or under Docker's, which has none for zstd."""
    if any(word in layer.media_type for word in _FOREIGN):
        return layer
    kind = compression_of(layer.media_type)
    docker = _DOCKER_LAYER + (".gzip" if kind is Compression.GZIP else "")
    return Descriptor(media_types.layer_type(kind) if oci or kind is Compression.ZSTD else docker, layer.digest,
                      layer.size, annotations=layer.annotations)  # fmt: skip


class LayerForms:
    """Makes layers' other forms; each is kept by a lease.

    :param known: what gzip made of layers before.
    :param check: called between two pieces of work.
    """

    def __init__(self, content: ContentStore, known: BlobSources, lease: Lease, check: Check) -> None:
        self._content = content
        self._known = known
        self._lease = lease
        self._check = check

    def recompressed(self, layer: Descriptor, kind: Compression, level: int | None = None) -> Descriptor:
        """A layer, compressed as it should be.

        :param level: None: the usual one.
        :raises CorruptData: the blob is damaged.
        """
        is_usual = (kind, level, compression_of(layer.media_type)) == (Compression.GZIP, None, Compression.PLAIN)
        if is_usual and (packed := self._known.packed(layer.digest)):
            self._lease.blob(packed.digest)
            if self._content.holds(packed.digest, packed.size):
                return Descriptor(media_types.layer_type(kind), packed.digest, packed.size)
        found = self._convert(layer, kind, level)
        if is_usual:
            self._known.pack(layer.digest, Packed(found.digest, found.size))
        return found

    def _convert(self, layer: Descriptor, kind: Compression, level: int | None) -> Descriptor:
        target = _compressor(kind, level)
        with self._content.stage() as staged:
            for piece in self._plain(layer):
                staged.write(target.compress(piece) if target else piece)
            if target:
                staged.write(target.flush())
            return self._committed(staged, media_types.layer_type(kind))

    def _plain(self, layer: Descriptor) -> Iterator[bytes]:
        """A layer's uncompressed bytes in pieces of one size; the blob is verified at their end."""
        if compression_of(layer.media_type) is Compression.PLAIN:
            running = layer.digest.hasher()
            with self._content.open(layer.digest) as file, disk_errors("read a blob"):
                while piece := file.read(INPUT):
                    self._check()
                    running.update(piece)
                    yield piece
            found = Digest.from_hash(running)
        else:
            with self._content.open(layer.digest) as file, Source(file) as source:
                while piece := source.take(INPUT):
                    self._check()
                    yield piece
                source.drain()
                found = source.digest
        if found != layer.digest:
            raise CorruptData(f"blob {layer.digest} has digest {found}")

    def rewritten(self, layer: Descriptor, epoch: int) -> Descriptor:
        """A layer, uncompressed, in which no file is newer than a point in time, in nanoseconds since the epoch."""
        with self._content.stage() as staged:
            with self._content.open(layer.digest) as file, Source(file) as source:
                archive = TarReader(source)
                for entry in archive:
                    self._check()
                    entry.mtime = min(entry.mtime, epoch)
                    staged.write(writer.header(_whole(entry)))
                    for piece in _body(entry, archive):
                        self._check()
                        staged.write(piece)
                    staged.write(writer.padding(entry.size))
                source.drain()
            staged.write(writer.END)
            return self._committed(staged, media_types.OCI_LAYER)

    def squashed(self, new: Sequence[str], base: Sequence[str]) -> Descriptor:
        """Several layers as one, uncompressed: what has to be laid on their base to have the same files.

        :param new: the layers' directories, top first.
        :param base: those of the layers below; none: the layer has everything.
        """
        with self._content.stage() as staged, disk_errors("pack a layer"):

            def write(data: bytes) -> None:
                self._check()
                staged.write(data)

            packer = Packer(write, MAX_NAME)
            with ExitStack() as stack:
                tree = stack.enter_context(MergedTree.open([*new, *base]))
                model = stack.enter_context(MergedTree.open(base)) if base else None
                for _ in unrolled(_pack(packer, tree, model, len(new))):
                    pass
            packer.finish()
            return self._committed(staged, media_types.OCI_LAYER)

    def _committed(self, staged: Staged, media_type: str) -> Descriptor:
        self._lease.blob(staged.digest)
        return Descriptor(media_type, staged.commit(), staged.size)


def _compressor(kind: Compression, level: int | None) -> _Compressor | None:
    if kind is Compression.ZSTD:
        wanted = _ZSTD_LEVEL if level is None else max(1, min(level, _ZSTD_HIGHEST))
        return zstandard.ZstdCompressor(level=wanted).compressobj()
    if kind is Compression.GZIP:
        return compressor() if level is None else zlib.compressobj(level, zlib.DEFLATED, _GZIP)
    return None


def _whole(entry: Entry) -> Entry:
    """An entry without holes: what is written is the file as one reads it."""
    if entry.sparse is not None:
        entry.size = entry.full_size
    return entry


def _body(entry: Entry, archive: TarReader) -> Iterator[bytes | memoryview]:
    if entry.sparse is None:
        yield from archive.body()
        return
    body = _Taken(archive.body())
    position = 0
    for offset, length in entry.sparse:
        yield from _zeros(offset - position)
        yield from body.take(length)
        position = offset + length
    yield from _zeros(entry.full_size - position)


class _Taken:
    """Pieces of an entry's body, cut where they are wanted."""

    def __init__(self, pieces: Iterator[memoryview]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def take(self, count: int) -> Iterator[memoryview]:
        while count:
            if not self._rest:
                self._rest = next(self._pieces, memoryview(b""))
                if not self._rest:
                    raise CorruptData("the archive ends too early")
            piece, self._rest = self._rest[:count], self._rest[count:]
            count -= len(piece)
            yield piece


def _zeros(count: int) -> Iterator[bytes]:
    while count > 0:
        yield _ZEROS[:count]
        count -= len(_ZEROS)


def _pack(packer: Packer, tree: MergedTree, base: MergedTree | None, new: int) -> Generator[Any, None, None]:
    """The present directory's differences from the same one of the base; subdirectories are yielded for `unrolled`.

    What the base has and the whole has not, is whited out; what is the base's own, is passed over.

    :param new: how many layers, from the top, are not of the base.
    """
    names = set[bytes]()
    for entry in tree.entries():
        if base is not None:
            names.add(entry.name)
        if entry.level >= new:
            continue
        packer.add(tree.path(entry.name), entry, tree.directory(entry))
        if entry.is_directory and tree.enter(entry.name):
            model = base if base is not None and base.enter(entry.name) else None
            yield _pack(packer, tree, model, new)
            if model is not None:
                model.leave()
            tree.leave()
    if base is not None:
        for entry in base.entries():
            if entry.name not in names:
                packer.add_whiteout(tree.path(b"")[:-1], entry.name)
