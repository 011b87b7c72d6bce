"""``gelf``: to Graylog, or whatever takes its extended log format."""

from __future__ import annotations

import re
from typing import Final

from wherry.engine.log_drivers.addresses import Address, host_and_port, parse_url
from wherry.engine.log_drivers.contract import Options
from wherry.engine.log_drivers.forwarding import forwarding_driver
from wherry.errors import InvalidInput

__all__ = ["GELF", "parse_address"]

_TCP: Final = ("gelf-tcp-max-reconnect", "gelf-tcp-reconnect-delay")
_COMPRESSION: Final = ("gelf-compression-type", "gelf-compression-level")


def parse_address(text: str) -> Address:
    """Where the receiver is.

    :raises InvalidInput: it is no address, in Docker's words.
    """
    if not text:
        raise InvalidInput("gelf-address is a required parameter")
    if "://" not in text:
        raise InvalidInput(f"gelf-address should be in form proto://address, got {text}")
    try:
        scheme, place, _ = parse_url(text)
    except ValueError as error:
        raise InvalidInput(str(error)) from error
    if scheme not in ("tcp", "udp"):
        raise InvalidInput("gelf: endpoint needs to be TCP or UDP")
    try:
        return Address(scheme, *host_and_port(place))
    except ValueError:
        raise InvalidInput("gelf: please provide gelf-address as proto://host:port") from None


def _check_value(name: str, pattern: str, text: str) -> None:
    if not re.fullmatch(pattern, text):
        raise InvalidInput(f'unknown value "{text}" for log opt "{name}" for gelf log driver')


def _any(text: str) -> None:
    """Looked at along with the address."""


def _check_all(options: Options) -> None:
    address = parse_address(options.get("gelf-address", ""))
    for name, pattern in (*((name, r"[0-9]{1,9}") for name in _TCP), (_COMPRESSION[0], "gzip|zlib|none"),
                          (_COMPRESSION[1], "-1|[0-9]")):  # fmt: skip
        if name not in options:
            continue
        if name in _COMPRESSION and address.scheme != "udp":
            raise InvalidInput("compression is only supported on UDP")
        if name in _TCP and address.scheme != "tcp":
            raise InvalidInput(f'"{name}" is only valid for TCP')
        _check_value(name, pattern, options[name])


GELF: Final = forwarding_driver(
    "gelf",
    dict.fromkeys(("gelf-address", *_TCP, *_COMPRESSION), _any),
    "gelf_sender.GelfSender",
    check_all=_check_all,
    quote='"',
)
