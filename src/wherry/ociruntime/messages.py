"""Errors and warnings as runc writes them: a line of JSON in the caller's file, and a sentence on standard error.

Callers take the last line of level ``error`` of that file (containerd), or what is on standard error (Podman).
"""

from __future__ import annotations

import os
import time

__all__ = ["Log", "quoted"]


class Log:
    """Where messages go.

    :param path: a file that is appended to; empty for standard error.
    :param as_json: lines of JSON; otherwise ``key=value``.
    :param debug: whether messages of level ``debug`` are written at all.
    """

    def __init__(self, path: str, *, as_json: bool, debug: bool) -> None:
        self._path = path
        self._as_json = as_json
        self.debugs = debug

    def failure(self, text: str) -> None:
        """Write why the command fails; on standard error as well."""
        self._write("error", text)
        if self._path:
            _say(text)

    def warn(self, text: str) -> None:
        """Write what goes wrong without making the command fail."""
        self._write("warning", text)

    def debug(self, text: str) -> None:
        """Write what is being done, where that was asked for."""
        if self.debugs:
            self._write("debug", text)

    def check(self) -> None:
        """Open the file for the first time.

        :raises OSError: it cannot be.
        """
        if self._path:
            os.close(self._open())

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def _write(self, level: str, text: str) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self._as_json:
            line = f'{{"level":"{level}","msg":{quoted(text)},"time":"{now}"}}'
        else:
            line = f'time="{now}" level={level} msg={quoted(text)}'
        if not self._path:
            _say(line)
            return
        try:
            fd = self._open()
            try:
                os.write(fd, f"{line}\n".encode(errors="replace"))
            finally:
                os.close(fd)
        except OSError:  # also where the disk is full
            _say(line)


def _say(line: str) -> None:
    try:
        os.write(2, f"{line}\n".encode(errors="replace"))
    except OSError:
        return  # nobody listens


def quoted(text: str) -> str:
    """Return a text as a JSON string, in ASCII."""
    from _json import encode_basestring_ascii  # noqa: PLC0415  json itself takes as long as all else

    encoded: str = encode_basestring_ascii(text)
    return encoded
