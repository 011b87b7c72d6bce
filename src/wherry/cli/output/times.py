"""Times as users read and type them, in Docker's formats."""

from __future__ import annotations

import time

from wherry.docker.units import human_duration, parse_duration

__all__ = ["ago", "ellipsis", "local_rfc3339", "local_time", "timestamp", "unix_time"]


def ago(unix: float) -> str:
    """``3 hours ago``."""
    return f"{human_duration(time.time() - unix)} ago"


def local_time(unix: float) -> str:
    """``2024-05-01 12:00:00 +0200 CEST``, in the local time zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(unix))


def ellipsis(text: str, width: int) -> str:
    """Truncate a text to a width, with ``…`` at its end."""
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


def local_rfc3339(nanoseconds: int) -> str:
    """``2024-05-01T12:00:00.123456789+02:00``, in the local time zone."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    local = time.localtime(seconds)
    zone = time.strftime("%z", local)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', local)}.{rest:09d}{zone[:3]}:{zone[3:]}"


def timestamp(text: str, what: str = "") -> str:
    """Convert the value of ``--since`` or ``--until`` to seconds since the epoch.

    :param text: a duration before now (``42m``), an RFC 3339 time or date (local without a zone), or seconds.
    :param what: the flag, for the message; none for events, which docker does not name there.
    :raises wherry.errors.InvalidInput: invalid time.
    """
    if not text or text.replace(".", "", 1).isdigit():
        return text
    try:
        back = parse_duration(text)
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
        flag = f'invalid value for "{what}": ' if what else ""
        raise InvalidInput(f'{flag}failed to parse value as time or duration: "{text}"') from None
    return f"{int(moment.timestamp())}.{(digits + '0' * 9)[:9]}"
