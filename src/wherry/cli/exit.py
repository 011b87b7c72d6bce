"""The exception that ends a command with a given exit code."""

from __future__ import annotations

__all__ = ["Exit"]


class Exit(Exception):
    """End the command.

    :param code: the exit code.
    :param message: for standard error; empty prints nothing.
    """

    def __init__(self, code: int, message: str = "") -> None:
        super().__init__(message or f"exit code {code}")
        self.code = code
        self.message = message
