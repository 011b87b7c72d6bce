"""Sizes, spans and points in time as people read them; the forms are Docker's."""

from __future__ import annotations

import time

__all__ = ["ago", "bytes_size", "clock", "ellipsis", "human_size", "span", "stamp", "timestamp", "unix_time"]

_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB")

_SPANS = ((48, "hours", 1), (24 * 14, "days", 24), (24 * 60, "weeks", 24 * 7), (24 * 730, "months", 24 * 30))


def _scaled(value: float, base: float, units: tuple[str, ...], digits: int) -> str:
    step = 0
    while value >= base and step < len(units) - 1:
        value /= base
        step += 1
    return f"{value:.{digits}g}{units[step]}"


def human_size(size: float, digits: int = 3) -> str:
    """``4.43MB``: powers of 1000, a few significant digits."""
    return _scaled(float(size), 1000.0, _DECIMAL, digits)


def bytes_size(size: float) -> str:
    """``1.5GiB``: powers of 1024, four significant digits."""
    return _scaled(float(size), 1024.0, _BINARY, 4)


def span(seconds: float) -> str:
    """``About a minute``, ``3 hours``, ``2 weeks``."""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole < 60:
        return f"{whole} second{'' if whole == 1 else 's'}"
    minutes = whole // 60
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    return _hours(int(seconds / 3600 + 0.5), seconds)


def _hours(hours: int, seconds: float) -> str:
    if hours == 1:
        return "About an hour"
    for limit, unit, size in _SPANS:
        if hours < limit:
            return f"{hours // size} {unit}"
    return f"{int(seconds / 3600) // 24 // 365} years"


def ago(unix: float) -> str:
    """``3 hours ago``."""
    return f"{span(time.time() - unix)} ago"


def clock(unix: float) -> str:
    """``2024-05-01 12:00:00 +0200 CEST``, in our own time zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(unix))


def ellipsis(text: str, width: int) -> str:
    """Cut a text to a width; three dots' worth of it becomes ``…``."""
    return text if len(text) <= width else text[: width - 1] + "…"


def unix_time(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 time, as the API writes them; 0 for none."""
    from datetime import datetime

    if not text:
        return 0.0
    whole, dot, rest = text.partition(".")
    fraction = rest.rstrip("Z").split("+")[0].split("-")[0] if dot else ""
    zone = rest[len(fraction) :] if dot else ""
    seconds = datetime.fromisoformat((whole + zone).replace("Z", "+00:00")).timestamp()
    return seconds + float(f"0.{fraction or 0}")


def stamp(nanoseconds: int) -> str:
    """``2024-05-01T12:00:00.123456789+02:00``, in our own time zone."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    local = time.localtime(seconds)
    zone = time.strftime("%z", local)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', local)}.{rest:09d}{zone[:3]}:{zone[3:]}"


def timestamp(text: str, what: str = "time") -> str:
    """Turn what people type behind ``--since`` into seconds since the epoch.

    :param text: a span back from now (``42m``), an RFC 3339 time or date (ours where it names no zone), or seconds.
    :param what: the flag, for the message.
    :raises wherry.errors.InvalidInput: it is none of these.
    """
    if not text or text.replace(".", "", 1).isdigit():
        return text
    from wherry.cli.units import nanoseconds

    try:
        back = nanoseconds(text)
    except ValueError:
        return _date(text, what)
    return _seconds(time.time_ns() - back)


def _seconds(nanoseconds: int) -> str:
    return f"{nanoseconds // 1_000_000_000}.{nanoseconds % 1_000_000_000:09d}"


def _date(text: str, what: str) -> str:
    from datetime import datetime

    from wherry.errors import InvalidInput

    whole, dot, rest = text.replace("Z", "+00:00").partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))] if dot else ""
    try:
        moment = datetime.fromisoformat(whole + rest[len(digits) :])
    except ValueError:
        raise InvalidInput(f'invalid value for "{what}": failed to parse value as time or duration: "{text}"') from None
    return f"{int(moment.timestamp())}.{(digits + '0' * 9)[:9]}"
