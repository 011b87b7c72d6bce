"""A line for every request: in the form that web servers write and tools read, or as JSON."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Final

import msgspec

from wherry.errors import InvalidInput
from wherry.legible import in_json

if TYPE_CHECKING:
    from aiohttp import web

__all__ = ["AccessLog", "NoLog", "open_log"]


class NoLog:
    """Writes nothing."""

    def line(self, request: web.BaseRequest, status: int, sent: int, seconds: float, user: str) -> None:
        """Nothing."""

    def reopen(self) -> None:
        """Nothing."""


class AccessLog:
    """Appends to a file, one write(2) a line, so that the lines of several workers do not mix.

    :param path: "-" for standard output.
    :param as_json: JSON, in place of the combined log format.
    :raises InvalidInput: the file can't be opened.
    """

    def __init__(self, path: str, *, as_json: bool) -> None:
        self._path: Final = path
        self._format = _json if as_json else _combined
        self._fd = self._open()

    def line(self, request: web.BaseRequest, status: int, sent: int, seconds: float, user: str) -> None:
        """Write of a request that was answered."""
        os.write(self._fd, self._format(request, status, sent, seconds, user))

    def reopen(self) -> None:
        """Go on in a new file, after the old one was moved away (SIGHUP)."""
        if self._path != "-":
            old, self._fd = self._fd, self._open()
            os.close(old)

    def _open(self) -> int:
        if self._path == "-":
            return sys.stdout.fileno()
        try:
            return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise InvalidInput(f"cannot write '{self._path}'", cause=str(error.strerror).lower()) from error


def open_log(path: str, form: str) -> AccessLog | NoLog:
    """The log that the settings ask for."""
    return AccessLog(path, as_json=form == "json") if path else NoLog()


def _combined(request: web.BaseRequest, status: int, sent: int, seconds: float, user: str) -> bytes:
    """The combined log format plus the duration; client data cannot inject a new line."""
    at = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime())
    version = f"{request.version.major}.{request.version.minor}"
    line = f"{_clean(request.method)} {_clean(request.path_qs)} HTTP/{version}"
    referer, agent = (_clean(request.headers.get(name, "-")) for name in ("Referer", "User-Agent"))
    who = f"{request.remote or '-'} - {_clean(user) or '-'}"
    return f'{who} [{at}] "{line}" {status} {sent} "{referer}" "{agent}" {seconds:.4f}\n'.encode()


def _json(request: web.BaseRequest, status: int, sent: int, seconds: float, user: str) -> bytes:
    record = {
        "time": time.time(),
        "remote": request.remote or "",
        "user": user,
        "method": request.method,
        "path": request.path_qs,
        "status": status,
        "bytes": sent,
        "seconds": round(seconds, 6),
        "agent": request.headers.get("User-Agent", ""),
    }
    record = {key: _utf8(value) if isinstance(value, str) else value for key, value in record.items()}
    return in_json(msgspec.json.encode(record).decode()).encode() + b"\n"


def _utf8(text: str) -> str:
    """A header may hold bytes that are no UTF-8."""
    return text.encode(errors="surrogateescape").decode(errors="replace")


def _clean(text: str) -> str:
    return "".join(
        letter if letter.isprintable() and letter not in '"\\' else f"\\x{ord(letter):02x}" for letter in text
    )
