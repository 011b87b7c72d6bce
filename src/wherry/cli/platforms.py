"""``--platform os[/arch[/variant]]``."""

from __future__ import annotations

__all__ = ["platform_of"]


def platform_of(text: str) -> dict[str, str] | None:
    """Read a platform for the API; None when nothing was said.

    :raises wherry.errors.InvalidInput: it is none.
    """
    if not text:
        return None
    parts = text.lower().split("/")
    if len(parts) > 3 or not all(parts):
        from wherry.errors import InvalidInput

        raise InvalidInput(f'invalid platform "{text}": expected os[/arch[/variant]]')
    return dict(zip(("os", "architecture", "variant"), parts, strict=False))
