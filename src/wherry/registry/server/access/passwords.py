"""Who is who by name and password: an htpasswd file, bcrypt lines only, as Docker's registry takes them."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import logging
import os
import secrets
import time
from pathlib import Path
from typing import Final

from wherry.errors import InvalidInput, SystemFault, Unsupported
from wherry.registry.server.access.identity import Identity

__all__ = ["Passwords", "credentials"]

_log = logging.getLogger(__name__)
_REMEMBERED_SECONDS: Final = 300.0
_REMEMBERED: Final = 1000


class Passwords:
    """An htpasswd file; read again when it changes.

    bcrypt is slow on purpose. A password that was right is remembered for five minutes - not it itself, but its keyed
    digest, with a key that never leaves this process.

    :param path: the file.
    :raises InvalidInput: it can't be read.
    :raises Unsupported: the library bcrypt is not installed.
    """

    def __init__(self, path: Path) -> None:
        try:
            import bcrypt  # noqa: PLC0415 - an extra; only registries with passwords need it
        except ImportError as error:
            raise Unsupported("passwords need the library bcrypt", hint="pip install 'wherry[registry]'") from error
        self._check_password = bcrypt.checkpw
        # checked against when there is no such user, so that the time an answer takes does not tell
        self._nobody = bcrypt.hashpw(secrets.token_bytes(16), bcrypt.gensalt(10))
        self._path = path
        self._read_at: tuple[int, int] = (0, 0)
        self._lines: dict[str, bytes] = {}
        self._key = secrets.token_bytes(32)
        self._known: dict[bytes, float] = {}
        self._refresh()

    async def check(self, name: str, password: str) -> Identity | None:
        """Who this is; None when the password is wrong or there is nobody of that name."""
        self._refresh()
        line = self._lines.get(name)
        proof = hmac.digest(self._key, f"{name}\0{password}".encode() + (line or b""), hashlib.sha256)
        if self._known.get(proof, 0) > time.monotonic():
            return Identity(name)
        right = await asyncio.to_thread(self._compare, password, line or self._nobody)
        if line is None or not right:
            return None
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[proof] = time.monotonic() + _REMEMBERED_SECONDS
        return Identity(name)

    def _compare(self, password: str, line: bytes) -> bool:
        try:
            return self._check_password(password.encode()[:72], line)
        except ValueError:
            return False

    def _refresh(self) -> None:
        try:
            found = os.stat(self._path)
            stamp = (found.st_mtime_ns, found.st_ino)
            if stamp != self._read_at:
                self._lines = _read(self._path)
                self._read_at = stamp
        except OSError as error:
            if not self._lines:
                raise InvalidInput(f"cannot read '{self._path}'", cause=str(error.strerror).lower()) from error
            _log.warning("cannot read '%s' any more: what it said before holds", self._path)


def _read(path: Path) -> dict[str, bytes]:
    lines = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        name, colon, hashed = line.strip().partition(":")
        if not line.strip() or line.startswith("#"):
            continue
        if not (colon and name and hashed.startswith(("$2y$", "$2b$", "$2a$"))):
            raise SystemFault(f"'{path}', line {number}: not a bcrypt password", hint="htpasswd -B makes such lines")
        lines[name] = hashed.encode()
    return lines


def credentials(header: str | None) -> tuple[str, str] | None:
    """Name and password of an ``Authorization: Basic`` header (RFC 7617); None when it is none."""
    scheme, _, coded = (header or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(coded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
    return (name, password) if colon and name else None
