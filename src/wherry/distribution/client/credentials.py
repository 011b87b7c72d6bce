"""Registry credentials as Docker's clients send them to the daemon (Engine API, "Authentication")."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

import msgspec

from wherry.errors import InvalidInput

__all__ = ["ANONYMOUS", "Credentials", "from_header", "from_object"]


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """A name and a password, or a token in their place. Never shown: it has no useful ``repr``.

    :param identity_token: stands for the password where tokens are issued.
    :param registry_token: stands for every token of the registry's; it is sent as it is.
    """

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""
    server: str = ""

    @property
    def has_password(self) -> bool:
        """Whether there is something for basic authentication."""
        return bool(self.username and self.password)

    def basic(self) -> str:
        """The value of an ``Authorization`` header (RFC 7617)."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


ANONYMOUS = Credentials()


class _Wire(msgspec.Struct):
    """Docker's ``AuthConfig``; some clients write null for absent members."""

    username: str | None = ""
    password: str | None = ""
    auth: str | None = ""
    serveraddress: str | None = ""
    identitytoken: str | None = ""
    registrytoken: str | None = ""


def from_header(text: str) -> Credentials:
    """Read the header ``X-Registry-Auth``: JSON in base64, in either alphabet, with or without padding.

    Clients that have nothing to say send all kinds of things: what is none of this is nothing, as for dockerd.
    """
    if not text:
        return ANONYMOUS
    try:
        data = base64.urlsafe_b64decode(
            text.translate({43: 45, 47: 95}).rstrip("=") + "=" * (-len(text.rstrip("=")) % 4)
        )
        return _credentials(msgspec.json.decode(data or b"{}", type=_Wire | None) or _Wire())
    except (binascii.Error, msgspec.MsgspecError, ValueError, RecursionError):
        return ANONYMOUS


def from_object(value: object) -> Credentials:
    """Read the same as an object, as ``POST /auth`` has it.

    :raises InvalidInput: it is something else.
    """
    try:
        return _credentials(msgspec.convert(value, _Wire))
    except ValueError as exc:
        raise InvalidInput("invalid credentials", cause=str(exc)) from exc


def _credentials(wire: _Wire) -> Credentials:
    username, password = wire.username or "", wire.password or ""
    if wire.auth and not username:
        username, _, password = base64.b64decode(wire.auth).decode().partition(":")
    tokens = (wire.identitytoken or "", wire.registrytoken or "")
    return Credentials(username, password, *tokens, wire.serveraddress or "")
