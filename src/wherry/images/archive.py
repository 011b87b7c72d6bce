"""An image archive, read once from start to end, its members put aside until it is known which of them matter.

That has to be: the file that says what the others are may be the last one, and the stream may be a pipe. Members
become staged blobs, so those that matter need no copying, just a name.
"""

from __future__ import annotations

from types import TracebackType
from typing import Final

from wherry.content.store import MAX_DOCUMENT, ContentStore, Staged
from wherry.errors import CorruptData, InvalidInput
from wherry.layers.limits import Limits
from wherry.layers.source import Reader, Source
from wherry.layers.tar.entry import Kind, clean_name
from wherry.layers.tar.reader import TarReader
from wherry.oci.digest import Digest

__all__ = ["ImageArchive"]

_MAX_LINKS: Final = 10
#: An archive of images has a few files for each layer.
_LIMITS: Final = Limits(max_entries=100_000)


class ImageArchive:
    """The members of an image archive by name. Leaving the ``with`` block removes those that were not committed.

    :param stream: the archive, compressed or not.
    :raises CorruptData: it's damaged, or no archive.
    """

    def __init__(self, stream: Reader, content: ContentStore) -> None:
        self._content = content
        self._members: dict[str, Staged] = {}
        self._links: dict[str, str] = {}
        try:
            with Source(stream, _LIMITS, hashed=False) as source:
                self._read(TarReader(source, _LIMITS))
                source.drain()
        except BaseException:
            self.close()
            raise

    def __contains__(self, name: str) -> bool:
        return self.find(name) is not None

    def find(self, name: str) -> Staged | None:
        """A member; links are followed within the archive (Docker wrote layers that occur twice as links)."""
        for _ in range(_MAX_LINKS):
            if name in self._members:
                return self._members[name]
            if name not in self._links:
                return None
            name = self._links[name]
        raise InvalidInput(f"the archive has a link that leads to itself: '{name}'")

    def member(self, name: str, what: str) -> Staged:
        """A member that has to be there.

        :param what: how an error calls it, ``"layer"``.
        :raises InvalidInput: it's missing.
        """
        found = self.find(_clean(name))
        if found is None:
            raise InvalidInput(f"the archive lacks the {what} '{name}'")
        return found

    def blob(self, digest: Digest, what: str, size: int | None = None) -> Staged:
        """A member of an OCI layout, checked against its name.

        :raises InvalidInput: it's missing.
        :raises CorruptData: it is something else than its digest says.
        """
        found = self.member(f"blobs/{digest.algorithm}/{digest.hex}", what)
        if digest.algorithm == "sha256" and found.digest != digest:
            raise CorruptData(f"the {what} {digest} has digest {found.digest}")
        if size is not None and found.size != size:
            raise CorruptData(f"the {what} {digest} has {found.size} bytes, not {size}")
        return found

    def document(self, name: str, what: str) -> bytes:
        """A JSON member's bytes.

        :raises InvalidInput: it's missing.
        :raises TooLarge: no such document is that large.
        """
        return self.member(name, what).read(MAX_DOCUMENT)

    def close(self) -> None:
        """Remove all members that were not committed."""
        for member in self._members.values():
            member.discard()

    def __enter__(self) -> ImageArchive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, archive: TarReader) -> None:
        for entry in archive:
            name = _clean(entry.name)
            if entry.kind is Kind.FILE:
                self._stage(name, archive)
            elif entry.kind is Kind.SYMLINK:
                base = b"" if entry.target.startswith(b"/") else entry.name.rpartition(b"/")[0] + b"/"
                self._links[name] = _clean(base + entry.target)
            elif entry.kind is Kind.LINK:
                self._links[name] = _clean(entry.target)

    def _stage(self, name: str, archive: TarReader) -> None:
        staged = self._content.stage()
        former = self._members.get(name)
        if former is not None:
            former.discard()
        self._members[name] = staged
        for piece in archive.body():
            staged.write(piece)
        staged.close()


def _clean(name: str | bytes) -> str:
    raw = name.encode("utf-8", "surrogateescape") if isinstance(name, str) else name
    return clean_name(raw, strict=True).decode("utf-8", "surrogateescape")
