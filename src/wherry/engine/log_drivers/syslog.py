"""``syslog``: to a syslog daemon, by RFC 3164 or RFC 5424."""

from __future__ import annotations

import os
from typing import Final

from wherry.engine.log_drivers.addresses import Address, host_and_port, parse_url
from wherry.engine.log_drivers.contract import Options
from wherry.engine.log_drivers.forwarding import forwarding_driver
from wherry.errors import InvalidInput

__all__ = ["SYSLOG", "parse_address", "parse_facility"]

_FACILITIES: Final = (
    "kern user mail daemon auth syslog lpr news uucp cron authpriv ftp - - - - "
    "local0 local1 local2 local3 local4 local5 local6 local7"
).split()
_FORMATS: Final = ("", "rfc3164", "rfc5424", "rfc5424micro")
_PORT: Final = 514


def parse_address(text: str) -> Address | None:
    """Where the daemon is; None: this machine's.

    :raises InvalidInput: it is no address, in Docker's words.
    """
    if not text:
        return None
    try:
        scheme, place, path = parse_url(text)
        if scheme in ("unix", "unixgram") and path:
            return Address(scheme, path=path)
        if scheme in ("udp", "tcp", "tcp+tls") and place:
            return Address(scheme, *host_and_port(place, _PORT))
    except ValueError as error:
        raise InvalidInput(str(error)) from error
    raise InvalidInput(f"syslog-address should be in form proto://address, got {text}")


def parse_facility(text: str) -> int:
    """The number of a facility.

    :raises InvalidInput: there is none of that name.
    """
    if not text:
        return _FACILITIES.index("daemon")
    if text in _FACILITIES and text != "-":
        return _FACILITIES.index(text)
    if text.isascii() and text.isdigit() and len(text) < 3 and int(text) <= 23:
        return int(text)
    raise InvalidInput("invalid syslog facility")


def _check_format(text: str) -> None:
    if text not in _FORMATS:
        raise InvalidInput("Invalid syslog format")


def _any(text: str) -> None:
    """A file, which is read when the container starts; or whatever ``skip-verify`` is, as in Docker."""


def _check_all(options: Options) -> None:
    address = parse_address(options.get("syslog-address", ""))
    if address is not None and address.path:
        try:
            os.stat(address.path)
        except (OSError, ValueError) as error:
            reason = os.strerror(error.errno).lower() if isinstance(error, OSError) and error.errno else str(error)
            raise InvalidInput(f"stat {address.path}: {reason}") from error


SYSLOG: Final = forwarding_driver(
    "syslog",
    {
        "syslog-address": _any,
        "syslog-facility": parse_facility,
        "syslog-format": _check_format,
        "syslog-tls-ca-cert": _any,
        "syslog-tls-cert": _any,
        "syslog-tls-key": _any,
        "syslog-tls-skip-verify": _any,
    },
    "syslog_sender.SyslogSender",
    check_all=_check_all,
)
