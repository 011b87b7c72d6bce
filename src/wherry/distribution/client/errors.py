"""Errors of a registry: its error bodies, statuses and broken connections as wherry's errors.

Docker's clients show these sentences as they are, and look for some of their words.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from typing import Final

import aiohttp
import msgspec
from yarl import URL

from wherry.errors import Forbidden, InvalidInput, NotFound, SystemFault, Unauthenticated, Unavailable, WherryError
from wherry.legible import bounded

__all__ = ["Transient", "broken", "of_answer", "reason_of", "sentence_of"]

#: Statuses worth another attempt: too early, too many requests, server errors (RFC 9110, RFC 6585).
TRANSIENT_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504})

_LONGEST: Final = 2000  # characters of a reason: a registry may say as much as it likes


class Transient(Exception):
    """A failure that another attempt may not have; caught by `retry`, which raises `error` after the last one.

    :param after: the registry's ``Retry-After`` in seconds; None without one.
    """

    def __init__(self, error: WherryError, after: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.after = after


class _Reported(msgspec.Struct):
    code: str = ""
    message: str = ""
    detail: msgspec.Raw = msgspec.Raw(b"null")


class _Body(msgspec.Struct):
    errors: list[_Reported] = []
    details: str = ""
    message: str = ""


def sentence_of(status: int, body: bytes) -> tuple[str, str]:
    """The code and the sentence of an error's body (distribution specification, "Error Codes").

    :return: ``("MANIFEST_UNKNOWN", "manifest unknown: manifest unknown")``; no code where the body is something else.
    """
    try:
        reported = msgspec.json.decode(body, type=_Body)
    except msgspec.MsgspecError:
        reported = _Body()
    if reported.errors:
        first = reported.errors[0]
        words = first.code.lower().replace("_", " ") or "unknown"
        return first.code, f"{words}: {first.message}" if first.message else words
    if text := reported.details or reported.message:
        return "", text
    return "", f"unexpected status from the registry: {status}"


def of_answer(status: int, body: bytes, doing: str, *, lacks_scope: bool = False) -> WherryError:
    """The error that an answer stands for.

    :param doing: the request, as Go's clients name it: ``Get "https://.../v2/"``.
    :param lacks_scope: whether its challenge says ``insufficient_scope``: the token is good, and does not allow that.
    """
    code, sentence = sentence_of(status, body)
    sentence = bounded(sentence, _LONGEST)
    if status == 401:
        if lacks_scope and code in ("", "UNAUTHORIZED"):
            code, sentence = "DENIED", "denied: requested access to the resource is denied"
        return Unauthenticated(sentence if code else f"{doing}: unauthorized: authentication required")
    if status == 403 or code == "DENIED":
        return Forbidden(sentence if code else f"{doing}: denied: the registry refuses access")
    if status == 404:
        return NotFound(sentence if code else f"{doing}: not found")
    if status == 429:
        return Unavailable(sentence if code else "toomanyrequests: too many requests")
    if status >= 500:
        return Unavailable(f"received unexpected HTTP status: {status}" if not code else sentence)
    return InvalidInput(f"{doing}: {sentence}")


def broken(exc: BaseException, method: str, url: URL) -> WherryError:
    """The error that a broken, or never made, connection stands for, in the words of Go's clients."""
    doing = f'{method.capitalize()} "{url.with_query(None)}"'
    return SystemFault(f"{doing}: {reason_of(exc, url)}")


def reason_of(exc: BaseException, url: URL) -> str:
    """Why a connection broke, or was never made, in the words of Go's clients."""
    if isinstance(exc, TimeoutError | asyncio.TimeoutError):
        return "the server does not answer in time"
    if isinstance(exc, aiohttp.ClientConnectorCertificateError):
        return f"tls: failed to verify certificate: x509: {exc.certificate_error}"
    if isinstance(exc, aiohttp.ClientConnectorDNSError):
        return f"dial tcp: lookup {url.host}: no such host"
    if isinstance(exc, aiohttp.ClientConnectorError):
        return _unreachable(exc.os_error, url)
    if isinstance(exc, aiohttp.ServerDisconnectedError | aiohttp.ClientPayloadError):
        return "the connection broke: unexpected EOF"
    return bounded(str(exc), _LONGEST) or type(exc).__name__  # what the registry sent may be quoted in it


def _unreachable(error: OSError, url: URL) -> str:
    if isinstance(error, ssl.SSLError):
        return f"tls: {error.reason or error}"
    number = error.errno or 0
    return f"dial tcp {url.host}:{url.port}: connect: {(os.strerror(number) if number > 0 else str(error)).lower()}"
