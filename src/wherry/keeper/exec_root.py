"""The keeper's own files in an exec-root: its lock, its socket, its process ID; and how both sides reach the socket."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator

from wherry.errors import Conflict
from wherry.linux.fd import Fd

SOCKET = "keeper.sock"
LOCK = "keeper.lock"
PID = "keeper.pid"
LOG = "keeper.log"
OF_CONTAINER = ("stdin", "stdout", "stderr", "process.json", "exit.json")
"""What is in a container's directory, beside the records of programs that are executed in it."""

StrPath = str | os.PathLike[str]


def lock(exec_root: StrPath) -> Fd:
    """Become the only keeper of an exec-root, until the descriptor is closed.

    The kernel lets the lock go with the process, however that ends; it survives ``execve``.

    :raises Conflict: there is one already.
    """
    fd = Fd(os.open(os.path.join(exec_root, LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    try:
        fcntl.flock(fd.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise Conflict(f"{os.fspath(exec_root)!r} has a keeper already") from error
    return fd


def listen(exec_root: StrPath) -> socket.socket:
    """The socket on which daemons find the keeper; the caller holds the lock: a socket that is there is a dead one."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(exec_root, SOCKET))
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    sock.setblocking(False)
    with short_name(exec_root) as directory:
        sock.bind(f"{directory}/{SOCKET}")
    os.chmod(os.path.join(exec_root, SOCKET), 0o600)
    sock.listen(16)
    return sock


def connect(exec_root: StrPath) -> socket.socket:
    """A connection to the keeper of an exec-root.

    :raises OSError: nobody listens there: ``FileNotFoundError`` or ``ConnectionRefusedError``.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    try:
        with short_name(exec_root) as directory:
            sock.connect(f"{directory}/{SOCKET}")
    except BaseException:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


@contextlib.contextmanager
def short_name(directory: StrPath) -> Iterator[str]:
    """A name of a directory that fits into a socket's address of 108 bytes, however long its path is; see unix(7)."""
    with Fd(os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as fd:
        yield f"/proc/self/fd/{fd.fileno()}"


def write_pid(exec_root: StrPath) -> None:
    """Write the PID file. It is replaced atomically: a reader sees this keeper's PID or the former one's."""
    path = os.path.join(exec_root, PID)
    try:
        with open(f"{path}.new", "w", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")
        os.rename(f"{path}.new", path)
    except OSError:  # no room: a number that is not known is better than a wrong one, and no reason not to keep
        for name in (f"{path}.new", path):
            with contextlib.suppress(OSError):
                os.unlink(name)


def remove(exec_root: StrPath) -> None:
    """Remove the keeper's own files at its orderly end. The lock file stays, because a waiting process has it open."""
    for name in (SOCKET, PID):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(exec_root, name))
