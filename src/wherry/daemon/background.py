"""Daemonize: the command returns when the daemon answers, or with its error."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from wherry import legible

if TYPE_CHECKING:
    from wherry.daemon.options import Options

_READY: Final = b"ready"
LOG_NAME: Final = "wherryd.log"


class Background:
    """The channel from a daemon in the background to the command that started it."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    def ready(self) -> None:
        """Let the command return: everything answers."""
        self._send(_READY)

    def failed(self, sentence: str) -> None:
        """Let the command fail with this sentence."""
        self._send(sentence.encode())

    def _send(self, data: bytes) -> None:
        if self._pipe >= 0:
            os.write(self._pipe, data)
            os.close(self._pipe)
            self._pipe = -1


def go(options: Options) -> Background:
    """Return in the background, in a session of its own.

    The calling process waits for the outcome, and ends. Call it before there are threads. Standard error
    becomes ``<exec-root>/wherryd.log``.
    """
    read_end, write_end = os.pipe()
    if os.fork():
        os.close(write_end)
        _report(read_end)
    os.close(read_end)
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    _redirect(options.settings.exec_root / LOG_NAME)
    return Background(write_end)


def _report(read_end: int) -> NoReturn:
    """In the command: wait for the daemon's word."""
    with os.fdopen(read_end, "rb") as pipe:
        word = pipe.read()
    if word == _READY:
        os._exit(0)
    sentence = word.decode(errors="replace") or "the daemon ended before it answered; its log has the reason"
    sys.stderr.write(f"wherryd: {legible.lines(sentence)}\n")
    sys.stderr.flush()
    os._exit(1)


def _redirect(log_file: Path) -> None:
    log_file.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    log = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.close(null)
