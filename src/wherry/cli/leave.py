"""The way out of a command with an exit code of its own."""

from __future__ import annotations

__all__ = ["Leave"]


class Leave(Exception):
    """End the command.

    :param code: the exit code.
    :param message: for standard error, or nothing when everything was said already.
    """

    def __init__(self, code: int, message: str = "") -> None:
        super().__init__(message or f"exit code {code}")
        self.code = code
        self.message = message
