"""The log option ``tag``: a text with Docker's placeholders for the container's name, ID and image."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from wherry.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PLACEHOLDERS", "check_tag", "fill_tag"]

PLACEHOLDERS: Final = ("ID", "FullID", "Name", "ImageID", "ImageFullID", "ImageName", "DaemonName")
_PLACEHOLDER: Final = re.compile(r"\{\{[ \t]*\.(\w+)[ \t]*\}\}")


def check_tag(text: str) -> None:
    """Check that a tag can be filled in.

    :raises Unsupported: it has more of Go's template language than placeholders.
    """
    if "{{" in fill_tag(text, dict.fromkeys(PLACEHOLDERS, "")):
        known = " ".join(f"{{{{.{name}}}}}" for name in PLACEHOLDERS)
        raise Unsupported(f"the log option tag takes no other placeholders than {known}, not '{text}'")


def fill_tag(text: str, values: Mapping[str, str]) -> str:
    """A tag with these values in place of the placeholders."""
    return _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), text)
