"""Options of volumes that a server has: names become addresses, as the kernel asks no name server."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

from wherry.errors import SystemFault

__all__ = ["resolved", "without_password", "words_of"]

_NETWORKED: Final = frozenset({"nfs", "nfs4", "cifs", "smb3"})
_WINDOWS: Final = frozenset({"cifs", "smb3"})
_PASSWORD: Final = re.compile(r"pass(?:word)?2?=")
_SINGLE_COMMA: Final = re.compile(r"(?<!,),(?!,)")


def words_of(kind: str, text: str) -> list[str]:
    """Take options apart; in those of ``cifs``, two commas are one that belongs to a value."""
    if not text:
        return []
    if kind in _WINDOWS:
        return [word.replace(",,", ",") for word in _SINGLE_COMMA.split(text)]
    return text.split(",")


def resolved(kind: str, device: str, words: Sequence[str]) -> tuple[str, list[str]]:
    """Device and options with addresses in place of names: of ``addr=``, or of the server in the device of ``cifs``.

    :raises SystemFault: a name is not known; in Docker's words.
    """
    words = list(words)
    if kind not in _NETWORKED:
        return device, words
    for at, word in enumerate(words):
        name, _, value = word.partition("=")
        if name == "addr" and value:
            words[at] = f"addr={_address(value)}"
            return device, words
    if kind in _WINDOWS and (host := urlsplit(device).netloc.rpartition("@")[2]):
        return device.replace(host, _address(host.strip("[]")), 1), words
    return device, words


def _address(host: str) -> str:
    """An address as it is, or that of a name: an IPv4 one where there are several, as Go's resolver has it."""
    with suppress(ValueError):
        return str(ipaddress.ip_address(host))
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as exc:
        raise SystemFault("error resolving passed in network volume address", cause=f"{host}: {exc.strerror}") from exc
    return str(min(found, key=lambda one: one[0] != socket.AF_INET)[4][0])


def without_password(message: str, words: Sequence[str]) -> str:
    """An error's text without the password that is among the options."""
    for word in words:
        if begin := _PASSWORD.match(word):
            value = word[begin.end() :]
            for shown in (value.replace(",", ",,"), value):
                message = message.replace(shown, "********") if shown else message
    return message
