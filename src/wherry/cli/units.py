"""Sizes, durations and processor counts as people type them."""

from __future__ import annotations

__all__ = ["memory_size", "nano_cpus", "nanoseconds"]

_BINARY = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
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


def memory_size(text: str) -> int:
    """Read a size in bytes: ``512``, ``64m``, ``1.5g``, ``2GiB``; a unit is a power of 1024.

    :raises ValueError: it is none.
    """
    number = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    suffix = text[len(number) :].lower()
    number = number.removesuffix(" ")
    try:
        value = float(number)
    except ValueError:
        raise ValueError(f"invalid size: '{text}'") from None
    if not 0 <= value < float("inf") or number != number.strip():
        raise ValueError(f"invalid size: '{text}'")
    if suffix in ("", "b"):
        return int(value)
    if suffix[0] not in _BINARY or suffix[1:] not in ("", "b", "ib"):
        raise ValueError(f"invalid suffix: '{suffix}'")
    return int(value * _BINARY[suffix[0]])


def memory_swap(text: str) -> int:
    """Read a size, or -1 for no limit."""
    return -1 if text == "-1" else memory_size(text)


def nanoseconds(text: str) -> int:
    """Read a duration as Go writes it: ``300ms``, ``1.5h``, ``1m30s``, ``0``.

    :raises ValueError: it is none.
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
    return sign * total


def _span(text: str, letters: str) -> tuple[str, str]:
    rest = text.lstrip(letters)
    return text[: len(text) - len(rest)], rest


def _span_until(text: str, letters: str) -> tuple[str, str]:
    end = next((at for at, letter in enumerate(text) if letter in letters), len(text))
    return text[:end], text[end:]


def nano_cpus(text: str) -> int:
    """Read a number of processors, ``1.5``, in billionths.

    :raises ValueError: it is none, or finer than a billionth.
    """
    from fractions import Fraction

    try:
        value = Fraction(text) * 1_000_000_000
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"failed to parse {text} as a rational number") from None
    if value.denominator != 1:
        raise ValueError("value is too precise")
    return int(value)
