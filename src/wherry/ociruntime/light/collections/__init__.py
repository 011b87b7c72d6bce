"""Of `collections`, what is written in C."""

from _collections import defaultdict, deque

__all__ = ["defaultdict", "deque"]
