"""BuildKit's cache configuration: layers, and records that say which key leads to which of them. No I/O.

Ours has three things more, which BuildKit passes over. Steps that changed nothing have no layer there; a record's
``wherry.chain`` lists a result's layers with -1 for each of these. And a record whose input has the selector
`FAST_KEY` is no result, but a key that leads to another record's. ``wherry.mounts`` are cache mounts, by their keys
(`cache.mounts`), each with the number of a layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as field_of
from typing import Final

from msgspec import Struct, field

from wherry.build.cache.remote import CacheEntry
from wherry.errors import InvalidInput
from wherry.oci.codec import decode, encode
from wherry.oci.digest import Digest
from wherry.oci.manifest import Descriptor
from wherry.oci.times import rfc3339

__all__ = [
    "CONFIG_TYPE", "EMPTY", "UNCOMPRESSED", "FoundCache", "Part", "document_of", "found_in", "record_digest",
    "records_of",
]  # fmt: skip

CONFIG_TYPE: Final = "application/vnd.buildkit.cacheconfig.v0"
#: The annotation with the diff ID of a layer.
UNCOMPRESSED: Final = "containerd.io/uncompressed"
FAST_KEY: Final = "wherry.key"
#: Stands for the layer of a step that changed nothing.
EMPTY: Final = -1
_MOST: Final = 100_000
_MOST_LAYERS: Final = 1_000_000  # of all results, each as often as results have it


class _Annotations(Struct, rename="camel", omit_defaults=True):
    media_type: str = ""
    diff_id: str = field(name="diffID", default="")
    size: int = 0
    created_at: str = ""


class _Layer(Struct, omit_defaults=True):
    blob: str = ""
    parent: int = 0
    annotations: _Annotations | None = None


class _Result(Struct, rename="camel"):
    layer: int = 0
    created_at: str = "0001-01-01T00:00:00Z"


class _Input(Struct):
    selector: str = ""
    link: int = 0


class _Record(Struct, omit_defaults=True):
    layers: list[_Result] | None = None
    digest: str = ""
    inputs: list[list[_Input]] | None = None
    chain: list[int] | None = field(name="wherry.chain", default=None)


class _Mount(Struct):
    key: str = ""
    layer: int = 0


class _Config(Struct, omit_defaults=True):
    layers: list[_Layer] | None = None
    records: list[_Record] | None = None
    mounts: list[_Mount] | None = field(name="wherry.mounts", default=None)


@dataclass(frozen=True, slots=True)
class Part:
    """One layer of a result: its blob and its diff ID."""

    blob: Descriptor
    diff_id: Digest


@dataclass(frozen=True, slots=True)
class FoundCache:
    """What a configuration says.

    :param results: the layers of each result, bottom first, by the digests of its record; None for an empty layer.
    :param keys: the identity that a fast key leads to.
    :param mounts: cache mounts, by their keys.
    """

    results: Mapping[str, tuple[Part | None, ...]]
    keys: Mapping[str, str]
    mounts: Mapping[str, Part] = field_of(default_factory=dict)

    @property
    def size(self) -> int:
        """What it takes of memory, in entries of lists and tables."""
        return sum(1 + len(chain) for chain in self.results.values()) + len(self.keys) + len(self.mounts)


def record_digest(identity: str, output: int) -> str:
    """How a result is called in a configuration: for the first output, and so for keys, by its identity itself."""
    return f"sha256:{identity}" if output == 0 else str.__str__(Digest.from_bytes(f"{identity} {output}".encode()))


# --- writing --------------------------------------------------------------------------------------


def document_of(
    entries: Sequence[CacheEntry], chains: Sequence[Sequence[Part | None]], mounts: Mapping[str, Part] | None = None
) -> tuple[bytes, list[Part]]:
    """A configuration, and the layers that it speaks of.

    :param chains: the layers of each entry, bottom first.
    :param mounts: cache mounts, by their keys.
    """
    listed = _Layers()
    found = [listed.chain(chain) for chain in chains]
    kept = [_Mount(key, listed.chain([part])[0]) for key, part in sorted((mounts or {}).items())]
    config = _Config(listed.layers, _records(entries, found), kept or None)
    return encode(config), list(listed.parts.values())


class _Layers:
    """The layers of a configuration, each under the one that it lies upon."""

    def __init__(self) -> None:
        self.layers: list[_Layer] = []
        self.parts: dict[Digest, Part] = {}
        self._numbers: dict[tuple[Digest, ...], int] = {}

    def chain(self, chain: Sequence[Part | None]) -> list[int]:
        """The numbers of some layers that lie upon each other."""
        below: tuple[Digest, ...] = ()
        indexes = []
        for part in chain:
            if part is None:
                indexes.append(EMPTY)
                continue
            parent, below = self._numbers.get(below, EMPTY), (*below, part.blob.digest)
            self.parts.setdefault(part.blob.digest, part)
            if below not in self._numbers:
                self._numbers[below] = len(self.layers)
                notes = _Annotations(part.blob.media_type, str.__str__(part.diff_id), part.blob.size)
                self.layers.append(_Layer(str.__str__(part.blob.digest), parent, notes))
            indexes.append(self._numbers[below])
        return indexes


def records_of(entries: Sequence[CacheEntry], chains: Sequence[Sequence[int]]) -> bytes:
    """The records alone, as they are in an image's configuration: its layers are those that they speak of."""
    return encode(_records(entries, chains))


def _records(entries: Sequence[CacheEntry], chains: Sequence[Sequence[int]]) -> list[_Record]:
    records: list[_Record] = []
    first: dict[str, int] = {}
    for entry, chain in sorted(zip(entries, chains, strict=True), key=lambda pair: (pair[0].identity, pair[0].output)):
        full = [index for index in chain if index != EMPTY]
        results = [_Result(full[-1], rfc3339(entry.created))] if full else None
        if entry.output == 0:
            first[entry.identity] = len(records)
        records.append(_Record(results, record_digest(entry.identity, entry.output), chain=list(chain)))
    links = sorted({(key, entry.identity) for entry in entries for key in entry.fast_keys if key != entry.identity})
    for key, identity in links:
        if identity not in first:
            first[identity] = len(records)
            records.append(_Record(None, record_digest(identity, 0)))
        records.append(_Record(None, f"sha256:{key}", [[_Input(FAST_KEY, first[identity])]]))
    return records


# --- reading --------------------------------------------------------------------------------------


def found_in(data: bytes, blobs: Mapping[Digest, Descriptor], *, inline: Sequence[Part] | None = None) -> FoundCache:
    """Read a configuration; what is not understood, and what has layers that are not there, is left out. Takes a while.

    :param blobs: the layers that the manifest lists.
    :param inline: the layers of the image whose configuration has only the records.
    :raises InvalidInput: it is none, or too large.
    """
    if inline is None:
        config = decode(data, _Config, "cache configuration")
        parts = list(_parts(config.layers or [], blobs))
    else:
        config = _Config(records=decode(data, list[_Record], "cache configuration"))
        parts = list(inline)
    records, kept = config.records or [], config.mounts or []
    if len(records) > _MOST or len(parts) > _MOST or len(kept) > _MOST:
        raise InvalidInput("the cache configuration has too many records")
    if sum(len(record.chain or ()) for record in records) > _MOST_LAYERS:
        raise InvalidInput("the results of the cache configuration have too many layers")
    results: dict[str, tuple[Part | None, ...]] = {}
    keys: dict[str, str] = {}
    for record in records:
        if record.chain is not None:
            chain = _chain(record.chain, parts)
            if chain is not None:
                results.setdefault(record.digest, chain)
        elif (target := _target(record, records)) is not None:
            keys.setdefault(record.digest.removeprefix("sha256:"), target)
    mounts = {one.key: part for one in kept if (part := _part(one.layer, parts)) is not None}
    return FoundCache(results, keys, mounts)


def _parts(layers: Sequence[_Layer], blobs: Mapping[Digest, Descriptor]) -> Iterator[Part | None]:
    for layer in layers:
        try:
            blob = blobs.get(Digest(layer.blob))
            noted = (blob.annotations or {}).get(UNCOMPRESSED, "") if blob else ""
            said = layer.annotations.diff_id if layer.annotations else ""
            yield Part(blob, Digest(noted or said)) if blob else None
        except InvalidInput:
            yield None


def _chain(indexes: Sequence[int], parts: Sequence[Part | None]) -> tuple[Part | None, ...] | None:
    """The layers of a result; None where one of them is not there."""
    if len(indexes) > 500:  # more than the kernel lays upon each other
        return None
    chain: list[Part | None] = []
    for index in indexes:
        if index == EMPTY:
            chain.append(None)
        elif (part := _part(index, parts)) is not None:
            chain.append(part)
        else:
            return None
    return tuple(chain)


def _part(index: int, parts: Sequence[Part | None]) -> Part | None:
    return parts[index] if 0 <= index < len(parts) else None


def _target(record: _Record, records: Sequence[_Record]) -> str | None:
    """The identity that a key leads to."""
    if record.layers or not record.inputs or len(record.inputs) != 1 or len(record.inputs[0]) != 1:
        return None
    [[link]] = record.inputs
    if link.selector != FAST_KEY or not 0 <= link.link < len(records):
        return None
    return records[link.link].digest.removeprefix("sha256:")
