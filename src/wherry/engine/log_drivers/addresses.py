"""Where receivers are: addresses as log options have them, and why one was not reached, in Go's words."""

from __future__ import annotations

import errno
import os
import socket
from typing import NamedTuple
from urllib.parse import urlsplit

from wherry.errors import SystemFault

__all__ = ["Address", "dial_error", "host_and_port", "parse_url"]


class Address(NamedTuple):
    """Where a receiver is: a host and a port, or a path."""

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        return self.path or (f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}")


def parse_url(text: str) -> tuple[str, str, str]:
    """Scheme, host with port, and path.

    :raises ValueError: it is no URL.
    """
    if any(ord(letter) <= ord(" ") or ord(letter) == 0x7F for letter in text):
        raise ValueError(f"parse {text!r}: net/url: invalid control character in URL")
    parts = urlsplit(text)
    return parts.scheme, parts.netloc.rpartition("@")[2], parts.path


def host_and_port(text: str, default: int | None = None) -> tuple[str, int]:
    """Split a host and a port.

    :param default: the port where there is none; None: there has to be one.
    :raises ValueError: it is none, in the words of Go's ``net.SplitHostPort``.
    """
    host, colon, port = text.rpartition(":")
    if text.endswith("]") or not colon:
        host, port = text, ""
        if default is None:
            raise ValueError(f"address {text}: missing port in address")
        port = str(default)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"address {text}: too many colons in address")
    if not (port.isascii() and port.isdigit() and len(port) < 6 and int(port) < 65536):
        raise ValueError(f'strconv.Atoi: parsing "{port[:20]}": invalid syntax')
    return host, int(port)


def dial_error(address: Address, error: BaseException) -> SystemFault:
    """Why a receiver was not reached, as Go's ``net.Dial`` says it."""
    network = address.scheme.partition("+")[0].replace("tls", "tcp")
    if isinstance(error, TimeoutError) and not error.errno:
        return SystemFault(f"dial {network} {address}: i/o timeout")
    if isinstance(error, socket.gaierror):
        return SystemFault(f"dial {network}: lookup {address.host}: no such host")
    if (
        isinstance(error, OSError)
        and error.errno
        and error.errno in errno.errorcode
        and type(error).__module__ != "ssl"
    ):
        return SystemFault(f"dial {network} {address}: connect: {os.strerror(error.errno).lower()}")
    return SystemFault(f"dial {network} {address}", cause=str(error))
