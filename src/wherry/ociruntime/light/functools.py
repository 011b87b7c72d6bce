"""Of `functools`, what is written in C."""

from __future__ import annotations

from _functools import _lru_cache_wrapper, partial, reduce

__all__ = ["cache", "lru_cache", "partial", "reduce", "wraps"]


def lru_cache(maxsize=128, typed=False):
    """Remember a function's results."""
    if callable(maxsize):
        return _lru_cache_wrapper(maxsize, 128, typed, lambda *counts: counts)
    return lambda function: _lru_cache_wrapper(function, maxsize, typed, lambda *counts: counts)


def cache(function):
    """Remember all of a function's results."""
    return _lru_cache_wrapper(function, None, False, lambda *counts: counts)


def wraps(_):
    """Leave a function as it is."""
    return lambda function: function
