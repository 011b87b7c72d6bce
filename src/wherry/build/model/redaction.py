"""What is kept and shown of a build is without the names and passwords that URLs have in them: tokens, often."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Final

__all__ = ["redacted", "redacted_options"]

_AUTHORITY: Final = re.compile(r"[^/?#\s]*")
_PROXY: Final = re.compile(r"build-arg:[A-Za-z]+_proxy", re.IGNORECASE)
_OF_IMAGES: Final = ("docker-image", "oci-layout")
_HIDDEN: Final = "xxxxx@"


def redacted(text: str) -> str:
    """A text in which no URL has a name and a password."""
    if "@" not in text:
        return text
    parts = text.split("://")
    shown = [
        part if before.endswith(_OF_IMAGES) else _without_user(part)  # what is before their ``@`` is the name
        for before, part in pairwise(parts)
    ]
    return "://".join([parts[0], *shown])


def redacted_options(options: Mapping[str, str]) -> dict[str, str]:
    """The options of a build; a proxy may be written without a scheme."""
    return {
        name: redacted(value) if "://" in value or not _PROXY.fullmatch(name) else _without_user(value)
        for name, value in options.items()
    }


def _without_user(text: str) -> str:
    """What follows a scheme: up to the first slash, all before the last ``@`` is hidden."""
    match = _AUTHORITY.match(text)
    authority = match[0] if match else ""
    _, at, host = authority.rpartition("@")
    return (f"{_HIDDEN}{host}" if at else authority) + text[len(authority) :]
