"""The header ``X-Build-Secrets`` of wherry's own client: secrets of a build by their IDs, base64 in JSON in base64."""

from __future__ import annotations

import base64
import binascii
from typing import Final

import msgspec

from wherry.errors import InvalidInput

__all__ = ["HEADER", "parse"]

HEADER: Final = "X-Build-Secrets"


def parse(text: str) -> dict[str, bytes]:
    """Read the header. The secrets stay in memory, and are named in no error.

    :raises InvalidInput: it is not of that form.
    """
    if not text:
        return {}
    try:
        return msgspec.json.decode(base64.b64decode(text, validate=True), type=dict[str, bytes])
    except (binascii.Error, msgspec.MsgspecError, ValueError, RecursionError):
        raise InvalidInput(f"the header {HEADER} is malformed") from None
