"""Sizes, durations and numbers of processors as Docker's users type and read them (go-units, Go's ``time``).

Imports nothing: the command line uses it as well.
"""

from __future__ import annotations

__all__ = [
    "bytes_size",
    "duration_text",
    "human_duration",
    "human_size",
    "parse_cpus",
    "parse_duration",
    "parse_size",
]

_POWERS_OF_1024 = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_INT64_MAX = (1 << 63) - 1
_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB")
_SPANS = ((48, "hours", 1), (24 * 14, "days", 24), (24 * 60, "weeks", 24 * 7), (24 * 730, "months", 24 * 30))


def parse_size(text: str) -> int:
    """Parse a size in bytes: ``512``, ``64m``, ``1.5g``, ``2GiB``; a unit is a power of 1024.

    :raises ValueError: it is no size; in the words of go-units.
    """
    number = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    suffix = text[len(number) :].lower()
    number = number.removesuffix(" ")
    try:
        value = float(number)
    except ValueError:
        raise ValueError(f"invalid size: '{text}'") from None
    if number != number.strip() or not number.isascii() or "_" in number:  # which Python reads and Go does not
        raise ValueError(f"invalid size: '{text}'")
    if suffix not in ("", "b"):
        if suffix[0] not in _POWERS_OF_1024 or suffix[1:] not in ("", "b", "ib"):
            raise ValueError(f"invalid suffix: '{suffix}'")
        value *= _POWERS_OF_1024[suffix[0]]
    if not 0 <= value < float("inf"):
        raise ValueError(f"invalid size: '{text}'")
    return int(value)


def parse_duration(text: str) -> int:
    """Parse a duration of Go's ``time`` in nanoseconds: ``300ms``, ``1.5h``, ``1m30s``, ``0``.

    :raises ValueError: it is no duration, or more than an ``int64`` holds; in Go's words.
    """
    sign, rest = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if rest == "0":
        return 0
    if not rest:
        raise ValueError(f'time: invalid duration "{text}"')
    total = 0
    while rest:
        number, rest = _span(rest, "0123456789.")
        unit, rest = _span_until(rest, "0123456789.")
        whole, _, fraction = number.partition(".")
        if not (whole + fraction).isdigit():
            raise ValueError(f'time: invalid duration "{text}"')
        if not unit:
            raise ValueError(f'time: missing unit in duration "{text}"')
        if unit not in _NANOSECONDS:
            raise ValueError(f'time: unknown unit "{unit}" in duration "{text}"')
        scale = _NANOSECONDS[unit]
        total += int(whole or "0") * scale + int(fraction or "0") * scale // 10 ** len(fraction)
    if total > _INT64_MAX:
        raise ValueError(f'time: invalid duration "{text}"')
    return sign * total


def _span(text: str, letters: str) -> tuple[str, str]:
    rest = text.lstrip(letters)
    return text[: len(text) - len(rest)], rest


def _span_until(text: str, letters: str) -> tuple[str, str]:
    end = next((at for at, letter in enumerate(text) if letter in letters), len(text))
    return text[:end], text[end:]


def parse_cpus(text: str) -> int:
    """Parse a number of processors, ``1.5``, in billionths (``NanoCpus``).

    :raises ValueError: it is no number, or finer than a billionth.
    """
    from fractions import Fraction  # noqa: PLC0415 - the command line rarely needs it

    try:
        value = Fraction(text) * 1_000_000_000
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"failed to parse {text} as a rational number") from None
    if value.denominator != 1:
        raise ValueError("value is too precise")
    return int(value)


def _scaled(value: float, base: float, units: tuple[str, ...], digits: int) -> str:
    step = 0
    while value >= base and step < len(units) - 1:
        value /= base
        step += 1
    return f"{value:.{digits}g}{units[step]}"


def human_size(size: float, digits: int = 3) -> str:
    """A number of bytes in powers of 1000 with a few significant digits: ``4.43MB``."""
    return _scaled(float(size), 1000.0, _DECIMAL, digits)


def bytes_size(size: float) -> str:
    """A number of bytes in powers of 1024 with four significant digits: ``1.5GiB``."""
    return _scaled(float(size), 1024.0, _BINARY, 4)


def human_duration(seconds: float) -> str:
    """A rough duration: ``About a minute``, ``3 hours``, ``2 weeks``."""
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


def duration_text(seconds: float) -> str:
    """A duration as Go prints it: ``30s``, ``1m30s``, ``500ms``."""
    if seconds < 1:
        return f"{seconds * 1000:g}ms"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if minutes or hours else "") + f"{rest:g}s"
