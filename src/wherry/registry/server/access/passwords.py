"""Password authentication: an htpasswd file, bcrypt only, as in Docker's registry."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import logging
import os
import re
import secrets
import time
from pathlib import Path
from typing import Final

from wherry.errors import InvalidInput, SystemFault, Unsupported
from wherry.registry.server.access.hash_turns import Guesses, Turns
from wherry.registry.server.identity import Identity

__all__ = ["Passwords", "credentials"]

_log = logging.getLogger(__name__)
_REMEMBERED_SECONDS: Final = 300.0
_REMEMBERED: Final = 1000
_BCRYPT: Final = re.compile(r"\$2[aby]\$(?:0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}", re.ASCII)


class Passwords:
    """An htpasswd file; read again when it changes.

    bcrypt is slow on purpose. A password that was right is remembered for five minutes - not it itself, but its keyed
    digest, with a key that never leaves this process. The same password that many send at once is hashed once.

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
        self._path = path
        self._read_at: tuple[int, ...] = ()
        self._lines: dict[str, bytes] = {}
        self._costs: list[bytes] = []
        self._key = secrets.token_bytes(32)
        self._known: dict[bytes, float] = {}
        self._checking: dict[bytes, asyncio.Future[bool]] = {}
        self._turns = Turns()
        self._guesses = Guesses()
        self._refresh()

    async def check(self, name: str, password: str, address: str = "") -> Identity | None:
        """Check a password; None when it is wrong or the user is unknown.

        :param address: where it comes from.
        :raises Refusal: too many are tried from there.
        """
        self._refresh()
        line = self._lines.get(name)
        proof = hmac.digest(self._key, f"{name}\0{password}".encode() + (line or b""), hashlib.sha256)
        if self._known.get(proof, 0) > time.monotonic():
            return Identity(name)
        self._guesses.require(address, name)
        if not await self._is_right(proof, address, password, line or self._nobody(name)) or line is None:
            self._guesses.wrong(address, name)
            return None
        self._guesses.right(address, name)
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[proof] = time.monotonic() + _REMEMBERED_SECONDS
        return Identity(name)

    def mark(self, name: str) -> str | None:
        """A fingerprint of a user's password hash; None for an unknown user."""
        self._refresh()
        line = self._lines.get(name)
        return None if line is None else hashlib.sha256(name.encode() + b"\0" + line).hexdigest()[:32]

    async def _is_right(self, proof: bytes, address: str, password: str, line: bytes) -> bool:
        """Compare a password with its hash; concurrent checks of the same password share the result."""
        running = self._checking.get(proof)
        if running is None:
            running = asyncio.ensure_future(self._turns.take(address, self._compare, password, line))
            self._checking[proof] = running
            running.add_done_callback(lambda done: self._checked(proof, done))
        return await asyncio.shield(running)

    def _checked(self, proof: bytes, done: asyncio.Future[bool]) -> None:
        del self._checking[proof]
        if not done.cancelled():
            done.exception()  # whoever waited has it, if anybody still did

    def _nobody(self, name: str) -> bytes:
        """A hash to compare with for an unknown user, so that the response time reveals nothing.

        It takes as long as somebody's: as many names that are not there as are there have each cost.
        """
        chosen = int.from_bytes(hmac.digest(self._key, name.encode(), hashlib.sha256))
        cost = self._costs[chosen % len(self._costs)] if self._costs else b"10"
        return b"$2b$" + cost + b"$" + b"." * 53

    def _compare(self, password: str, line: bytes) -> bool:
        try:
            return self._check_password(password.encode()[:72], line)
        except ValueError:
            return False

    def _refresh(self) -> None:
        """Read the file if it has changed; one that cannot be used changes nothing, while there was another."""
        try:
            found = os.stat(self._path)
            stamp = (found.st_mtime_ns, found.st_ino, found.st_size, found.st_ctime_ns)
            if stamp == self._read_at:
                return
            self._read_at = stamp if self._lines else ()
            self._lines = _read(self._path)
            self._read_at = stamp
        except (OSError, UnicodeDecodeError, SystemFault) as error:
            if not self._lines:
                if isinstance(error, SystemFault):
                    raise
                cause = (getattr(error, "strerror", None) or str(error)).lower()
                raise InvalidInput(f"cannot read '{self._path}'", cause=cause) from error
            _log.warning("cannot read '%s', keeping the previous passwords: %s", self._path, error)
        self._costs = [line[4:6] for line in self._lines.values()]


def _read(path: Path) -> dict[str, bytes]:
    lines = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        name, colon, hashed = line.strip().partition(":")
        if not line.strip() or line.startswith("#"):
            continue
        if not (colon and name and _BCRYPT.fullmatch(hashed)):
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
