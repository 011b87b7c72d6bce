"""Start a daemon when none answers; or, when this process may not, say what to do."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys

from wherry.client.address import DEFAULT_SOCKET
from wherry.errors import Forbidden, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherry.client.transport import Transport

__all__ = ["ensure_daemon"]

START_SECONDS = 30.0
LOG = "/run/wherry/wherryd.log"
NOT_STARTED = "the wherry daemon could not be started"
TAIL_LINES = 15


def ensure_daemon(transport: Transport, error: OSError) -> None:
    """Start a daemon for an address that refused a connection.

    :param error: the error of connecting.
    :raises wherry.errors.Forbidden: access to the socket is denied.
    :raises wherry.errors.Unavailable: no daemon answers, and this process may not start one, or starting failed.
    """
    address = transport.address
    if isinstance(error, PermissionError):
        raise Forbidden(
            f"permission denied: only root and members of the socket's group may use {address.text}",
            hint="run it with sudo, or ask to be added to that group",
        ) from error
    if address.path != DEFAULT_SOCKET:
        raise Unavailable(
            f"cannot connect to the wherry daemon at {address.text}",
            cause=(error.strerror or str(error)).lower(),
            hint="is wherryd running?",
        ) from error
    if os.geteuid() != 0:
        raise Unavailable(
            "no wherry daemon is running, and only root can start one",
            hint="run this command with sudo, or start wherryd as root",
        ) from error
    _start(transport)


def _start(transport: Transport) -> None:
    """Start ``wherryd`` in the background, and wait until it reports that it is ready, or why not."""
    command = [sys.executable, "-m", "wherry.daemon.main", "--daemonize"]
    with _start_lock():
        if _answers(transport):
            return
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=_environment(),
                cwd="/",
                timeout=START_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Unavailable(
                NOT_STARTED, cause=f"it did not answer for {START_SECONDS:.0f} s", hint=f"see {LOG}"
            ) from None
    if done.returncode != 0 and not _answers(transport):
        raise Unavailable(NOT_STARTED, cause=_reason(done.stderr))


@contextlib.contextmanager
def _start_lock() -> Iterator[None]:
    """A lock for concurrent commands: the second waits for the first, and then finds its daemon."""
    folder = os.open(_source_directory(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _source_directory() -> str:
    import wherry

    return os.path.dirname(os.path.dirname(os.path.abspath(wherry.__file__)))


def _environment() -> dict[str, str]:
    """The daemon's environment: it imports the same ``wherry`` as this process, even when not installed."""
    source = _source_directory()
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != source]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([source, *others])}


def _answers(transport: Transport) -> bool:
    try:
        transport.connect().close()
    except OSError:
        return False
    return True


def _reason(message: bytes) -> str:
    """The daemon's message, with the end of its log when the message refers to it."""
    text = message.decode("utf-8", "replace").strip().removeprefix("wherryd: ")
    if "log" not in text:
        return text or "it said nothing"
    try:
        with open(LOG, encoding="utf-8", errors="replace") as log:
            lines = log.read().splitlines()
    except OSError:
        return text
    return "\n".join([text, *lines[-TAIL_LINES:]])
