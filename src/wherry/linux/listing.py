"""Machine code as assemblers list it: two spaces, the bytes in hexadecimal, and the instruction beside them."""

from __future__ import annotations

from wherry.errors import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["code_of"]


def code_of(listings: Mapping[str, str], architecture: str) -> bytes:
    """Return the bytes of an architecture's listing.

    :raises Unsupported: there is none.
    """
    listing = listings.get(architecture)
    if listing is None:
        raise Unsupported(f"there is no machine code for the architecture {architecture!r}")
    lines = (line for line in listing.splitlines() if line.startswith("  "))
    return bytes.fromhex("".join(line[2:26] for line in lines))
