"""Content digests: ``sha256:<64 hex digits>`` (OCI image specification, descriptor.md, "Digests")."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any, Final

from wherry.errors import CorruptData, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Digest", "chain_id_of", "chain_ids_of"]

_HEX_LENGTH: Final = {"sha256": 64, "sha384": 96, "sha512": 128}
_SYNTAX: Final = re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+")


class Digest(str):
    """The name of bytes, derived from the bytes: an algorithm, a colon, lower-case hexadecimal digits.

    It *is* a string, so it goes into SQL, JSON and messages as it stands; but it can only be made from a digest's text.

    :raises InvalidInput: the text is no digest, or of an algorithm that is not supported.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Digest:
        if isinstance(text, Digest):
            return text
        if not _SYNTAX.fullmatch(text):
            raise InvalidInput(f"invalid checksum digest format: {text!r}")
        algorithm, _, hexadecimal = text.partition(":")
        length = _HEX_LENGTH.get(algorithm)
        if length is None:
            raise InvalidInput(f"unsupported digest algorithm: {algorithm!r}")
        if len(hexadecimal) != length:
            raise InvalidInput(f"invalid checksum digest length: {text!r}")
        if not set(hexadecimal) <= set("0123456789abcdef"):
            raise InvalidInput(f"invalid checksum digest format: {text!r}")
        return super().__new__(cls, text)

    @classmethod
    def from_bytes(cls, data: bytes, algorithm: str = "sha256") -> Digest:
        """The digest of `data`."""
        return cls.from_hash(hashlib.new(algorithm, data))

    @classmethod
    def from_hash(cls, running: Any) -> Digest:
        """The digest of what a ``hashlib`` object has seen so far."""
        return cls(f"{running.name}:{running.hexdigest()}")

    @property
    def algorithm(self) -> str:
        """``"sha256"``, ``"sha384"`` or ``"sha512"``."""
        return self.partition(":")[0]

    @property
    def hex(self) -> str:
        """The hexadecimal digits alone."""
        return self.partition(":")[2]

    @property
    def short(self) -> str:
        """The first twelve digits, as Docker prints them."""
        return self.hex[:12]

    def hasher(self) -> Any:
        """A fresh ``hashlib`` object of this digest's algorithm."""
        return hashlib.new(self.algorithm)

    def verify(self, data: bytes) -> None:
        """Check that `data` is what this digest names.

        :raises CorruptData: it is not.
        """
        found = Digest.from_bytes(data, self.algorithm)
        if found != self:
            raise CorruptData(f"content has digest {found}, not {self}")


def chain_id_of(diff_ids: Sequence[Digest]) -> Digest:
    """Name the last of a chain of layers, given bottom first (OCI image specification, config.md, "Layer ChainID").

    :raises InvalidInput: there is no layer.
    """
    if not diff_ids:
        raise InvalidInput("an image without layers has no chain ID")
    return chain_ids_of(diff_ids)[-1]


def chain_ids_of(diff_ids: Iterable[Digest]) -> list[Digest]:
    """Name each of a chain of layers, given bottom first."""
    found: list[Digest] = []
    for diff_id in diff_ids:
        found.append(Digest.from_bytes(f"{found[-1]} {diff_id}".encode()) if found else diff_id)
    return found
