"""Convert version 1's units, which OCI specifications use, to those of version 2."""

from __future__ import annotations

from typing import Final

from wherry.errors import InvalidInput

__all__ = ["cpu_weight", "io_weight", "swap_limit"]

_SHARES_MINIMUM, _SHARES_MAXIMUM = 2, 262144
_WEIGHT_MAXIMUM: Final = 10000


def cpu_weight(shares: int) -> int:
    """Return ``cpu.weight`` for ``cpu.shares``.

    The curve goes through the three points that matter: smallest to smallest (2 to 1), largest to largest (262144 to
    10000) and default to default (1024 to 100). runc since 1.3.2, crun and Kubernetes use the same. The straight line
    that was used before made 39 of 1024, so that a container which asked for the default got less than half of its
    neighbours' share.
    """
    if shares <= _SHARES_MINIMUM:
        return 1
    if shares >= _SHARES_MAXIMUM:
        return _WEIGHT_MAXIMUM
    import math  # noqa: PLC0415  version 2 only

    power = math.log2(shares)
    return math.ceil(10 ** ((power * power + 125 * power) / 612 - 7 / 34))


def io_weight(weight: int) -> int:
    """Return ``io.weight`` (1 to 10000) for a block I/O weight (10 to 1000), linearly."""
    return 1 + (weight - 10) * 9999 // 990


def swap_limit(limit: int | None, swap: int | None) -> int | None:
    """Return the limit of swap alone.

    :param limit: of memory; -1 for none.
    :param swap: of memory and swap together; -1 for none.
    :returns: bytes, -1 for no limit, None to leave it.
    :raises InvalidInput: a limit of both without one of memory.
    """
    if swap is None:
        return -1 if limit == -1 else None
    if swap == -1:
        return -1
    if limit is None or limit == -1:
        raise InvalidInput("a limit of memory and swap together needs a limit of memory")
    return swap - limit
