"""No daemon answers: start one, if it is ours to start, or say what to do."""

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

__all__ = ["reach"]

START_SECONDS = 30.0
LOG = "/run/wherry/wherryd.log"
NOT_STARTED = "the wherry daemon could not be started"
TAIL_LINES = 15


def reach(transport: Transport, error: OSError) -> None:
    """Make somebody answer at an address where nobody did.

    :param error: what connecting said.
    :raises wherry.errors.Forbidden: the socket is not for us.
    :raises wherry.errors.Unavailable: nobody answers, and starting a daemon is not ours to do or did not work.
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
    """Start ``wherryd`` in the background; it says itself when it answers, or why it does not."""
    command = [sys.executable, "-m", "wherry.daemon.main", "--daemonize"]
    with _one_at_a_time():
        if _is_there(transport):
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
    if done.returncode != 0 and not _is_there(transport):
        raise Unavailable(NOT_STARTED, cause=_reason(done.stderr))


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Of two commands that find no daemon at once the second waits for the first, and then finds one."""
    folder = os.open(_source(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _source() -> str:
    import wherry

    return os.path.dirname(os.path.dirname(os.path.abspath(wherry.__file__)))


def _environment() -> dict[str, str]:
    """Let the daemon find the same ``wherry`` that runs here, also when it is not installed."""
    source = _source()
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != source]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([source, *others])}


def _is_there(transport: Transport) -> bool:
    try:
        transport.connect().close()
    except OSError:
        return False
    return True


def _reason(said: bytes) -> str:
    """What the daemon said, and the end of its log where it could only point there."""
    text = said.decode("utf-8", "replace").strip().removeprefix("wherryd: ")
    if "log" not in text:
        return text or "it said nothing"
    try:
        with open(LOG, encoding="utf-8", errors="replace") as log:
            lines = log.read().splitlines()
    except OSError:
        return text
    return "\n".join([text, *lines[-TAIL_LINES:]])
