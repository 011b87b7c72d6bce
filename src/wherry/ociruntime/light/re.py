"""`re`, as long as nothing is looked for: an expression that is compiled and not used costs nothing."""

from __future__ import annotations

__all__ = ["ASCII", "NeedsAll", "compile"]

ASCII = 256


class NeedsAll(BaseException):
    """Something is needed that is not here; nothing was done yet."""


class _Pattern:
    def fullmatch(self, _):
        """Look for it."""
        raise NeedsAll("re")

    match = search = finditer = sub = fullmatch


def compile(_, flags=0):
    """Return what is never used, or ends in `NeedsAll`."""
    return _Pattern()


def fullmatch(_, __, flags=0):
    """Look for an expression."""
    raise NeedsAll("re")


match = search = fullmatch
