"""JSON to and from the typed models of this package: one seam where a decoder's errors become wherry's."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from wherry.errors import InvalidInput
from wherry.oci.digest import Digest

__all__ = ["decode", "encode"]

Model = TypeVar("Model")


def decode(data: bytes | bytearray | memoryview, model: type[Model], what: str) -> Model:
    """Read JSON into `model`; fields that it doesn't know are left alone, as the OCI asks.

    :param what: how an error calls the document, ``"image manifest"``.
    :raises InvalidInput: it is no JSON, or not of that shape.
    """
    try:
        return msgspec.json.decode(data, type=model, dec_hook=_decode_hook)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise InvalidInput(f"invalid {what}", cause=str(exc)) from exc
    except RecursionError as exc:
        raise InvalidInput(f"invalid {what}", cause="it is nested too deeply") from exc


def encode(value: Any) -> bytes:
    """Write JSON; the same value always gives the same bytes."""
    return msgspec.json.encode(value, enc_hook=_encode_hook)


def _decode_hook(wanted: type, value: Any) -> Any:
    if wanted is Digest:
        if not isinstance(value, str):
            raise ValueError("a digest is a string")
        try:
            return Digest(value)
        except InvalidInput as exc:
            raise ValueError(str(exc)) from exc
    raise NotImplementedError(wanted)


def _encode_hook(value: Any) -> Any:
    if isinstance(value, Digest):
        return str.__str__(value)
    raise NotImplementedError(type(value))
