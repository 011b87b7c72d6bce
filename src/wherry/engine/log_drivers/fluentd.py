"""``fluentd``: to Fluentd, or whatever speaks its forward protocol."""

from __future__ import annotations

from typing import Final

from wherry.docker.units import parse_duration
from wherry.engine.log_drivers.addresses import Address, host_and_port, parse_url
from wherry.engine.log_drivers.contract import Options
from wherry.engine.log_drivers.forwarding import forwarding_driver
from wherry.engine.log_drivers.options import check_bool, check_number, size_of
from wherry.errors import InvalidInput

__all__ = ["FLUENTD", "parse_address", "seconds_of"]

_HOST: Final = "127.0.0.1"
_PORT: Final = 24224


def parse_address(text: str) -> Address:
    """Where the receiver is.

    :raises InvalidInput: it is no address, in Docker's words.
    """
    if not text:
        return Address("tcp", _HOST, _PORT)
    if "://" not in text:
        text = f"tcp://{text}"
    try:
        return _address(*parse_url(text))
    except ValueError as error:
        raise InvalidInput(f"invalid fluentd-address ({text})", cause=str(error)) from error


def _address(scheme: str, place: str, path: str) -> Address:
    if scheme == "unix":
        if not path.lstrip("/"):
            raise ValueError("path is empty")
        return Address(scheme, path=path)
    if scheme not in ("tcp", "tls"):
        raise ValueError(f"unsupported scheme: '{scheme}'")
    if path:
        raise ValueError("should not contain a path element")
    host, port = host_and_port(place, _PORT)
    return Address(scheme, host or _HOST, port)


def seconds_of(text: str) -> float:
    """A duration in seconds.

    :raises InvalidInput: it is none, or negative.
    """
    try:
        found = parse_duration(text)
    except ValueError as error:
        raise InvalidInput(str(error)) from error
    if found < 0:
        raise InvalidInput(f"invalid value: value must be a positive duration, got: {text}")
    return found / 1e9


def _check_buffer(text: str) -> None:
    if size_of(text) is None:
        raise InvalidInput(f"invalid size: '{text}'")


def _check_all(options: Options) -> None:
    if options.get("fluentd-async") and options.get("fluentd-async-connect"):
        raise InvalidInput("conflicting options: cannot specify both 'fluentd-async' and 'fluentd-async-connect'")


FLUENTD: Final = forwarding_driver(
    "fluentd",
    {
        "fluentd-address": parse_address,
        "fluentd-async": check_bool,
        "fluentd-async-connect": check_bool,
        "fluentd-async-reconnect-interval": seconds_of,
        "fluentd-buffer-limit": _check_buffer,
        "fluentd-max-retries": check_number,
        "fluentd-read-timeout": seconds_of,
        "fluentd-request-ack": check_bool,
        "fluentd-retry-wait": seconds_of,
        "fluentd-sub-second-precision": check_bool,
        "fluentd-write-timeout": seconds_of,
    },
    "fluentd_sender.FluentdSender",
    check_all=_check_all,
)
