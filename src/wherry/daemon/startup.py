"""What a daemon acquires before it loads the engine: directories, locks, sockets, and the keeper.

Clients wait in the sockets' backlog from here on, and the keeper's start takes place beside the imports.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from wherry.daemon.listeners import Listener, open_listeners
from wherry.daemon.lock import DataRootLock, ExecRootLock
from wherry.errors import WherryError
from wherry.keeper import client

if TYPE_CHECKING:
    from pathlib import Path

    from wherry.daemon.options import Options

__all__ = ["Acquired", "acquire"]


class Acquired(NamedTuple):
    """What a daemon has acquired.

    :ivar listeners: open sockets.
    :ivar keeper: ends when a keeper answers, or could not be started.
    """

    listeners: list[Listener]
    keeper: threading.Thread


@contextmanager
def acquire(options: Options) -> Iterator[Acquired]:
    """Acquire the locks, directories and sockets of a daemon; release them on exit.

    :raises Conflict: another daemon has the data root, the exec root, or a socket.
    :raises WherryError: a socket cannot be made.
    """
    settings = options.settings
    settings.data_root.mkdir(mode=0o710, parents=True, exist_ok=True)
    lock = DataRootLock(settings.data_root)
    exec_lock: ExecRootLock | None = None
    listeners: list[Listener] = []
    try:
        settings.exec_root.mkdir(mode=0o711, parents=True, exist_ok=True)
        exec_lock = ExecRootLock(settings.exec_root, settings.data_root)
        listeners += open_listeners(options, os.environ)
        keeper = threading.Thread(target=_find_keeper, args=(settings.exec_root,), name="keeper", daemon=True)
        keeper.start()
        yield Acquired(listeners, keeper)
    finally:
        for listener in listeners:
            listener.close()
        if exec_lock:
            _remove_pid_file(options.pid_file)
            exec_lock.release()
        lock.release()


def _find_keeper(exec_root: Path) -> None:
    """Start a keeper where none answers; the engine reports an error, and tries again."""
    try:
        client.connect(exec_root).close()
    except (OSError, WherryError):
        with suppress(OSError, WherryError):
            client.start_keeper(exec_root)


def _remove_pid_file(path: Path) -> None:
    """Remove it if it has our PID: a daemon that failed to start may have been given another's file."""
    with suppress(OSError):
        if path.read_text().strip() == str(os.getpid()):
            path.unlink()
