"""The header ``X-Registry-Config``: the client's credentials for all registries, JSON in base64."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Final

import msgspec

from wherry.build.model.session import Credentials

__all__ = ["credentials_for", "parse"]

_HUB: Final = ("docker.io", "index.docker.io", "registry-1.docker.io")
_MOST: Final = 10_000  # registries


class _Entry(msgspec.Struct):
    """Docker's ``AuthConfig``; some clients write null for absent members."""

    username: str | None = ""
    password: str | None = ""
    auth: str | None = ""
    identitytoken: str | None = ""


def parse(text: str) -> dict[str, Credentials]:
    """Read the header; credentials by the host's name. What is none of this is nothing, as for dockerd."""
    try:
        data = base64.b64decode(text.translate({45: 43, 95: 47}).rstrip("=") + "=" * (-len(text.rstrip("=")) % 4))
        found = msgspec.json.decode(data or b"{}", type=dict[str, _Entry | None] | None) or {}
    except (binascii.Error, msgspec.MsgspecError, ValueError, RecursionError):
        return {}
    return {_host(name): _credentials(entry) for name, entry in list(found.items())[:_MOST] if entry}


def credentials_for(known: Mapping[str, Credentials], host: str) -> Credentials | None:
    """The credentials for a registry."""
    return known.get(_host(host))


def _host(name: str) -> str:
    """``https://index.docker.io/v1/`` and ``registry-1.docker.io`` mean Docker Hub."""
    host = name.partition("://")[2] or name
    host = host.partition("/")[0].lower()
    return _HUB[0] if host in _HUB else host


def _credentials(entry: _Entry) -> Credentials:
    username, password = entry.username or "", entry.password or ""
    if entry.auth and not username:
        try:
            username, _, password = base64.b64decode(entry.auth).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return Credentials()
    return Credentials(username, password, entry.identitytoken or "")
