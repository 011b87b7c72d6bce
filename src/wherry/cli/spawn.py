"""No daemon answers: start one, if it is ours to start, or say what to do."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time

from wherry.client.address import DEFAULT_SOCKET
from wherry.errors import Forbidden, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.client.transport import Transport

__all__ = ["reach"]

START_SECONDS = 15.0
LOG = "/var/log/wherryd.log"
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
    """Start ``wherryd`` in the background and wait until it answers.

    Of two commands that do this at once the second waits for the first, by the lock on the log, and finds a daemon.
    """
    command = [sys.executable, "-m", "wherry.daemon.main", "--daemonize"]
    with open(LOG, "ab") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        if _is_there(transport):
            return
        before = log.tell()
        daemon = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=_environment(),
            cwd="/",
            start_new_session=True,
        )
        answers = _answers(transport, daemon)
        fcntl.flock(log, fcntl.LOCK_UN)  # said aloud: the daemon has inherited the open file, and the lock with it
    if not answers:
        raise Unavailable(
            "the wherry daemon could not be started", cause=_end_of_log(before) or "it wrote nothing", hint=f"see {LOG}"
        )


def _environment() -> dict[str, str]:
    """Let the daemon find the same ``wherry`` that runs here, also when it is not installed."""
    import wherry

    source = os.path.dirname(os.path.dirname(os.path.abspath(wherry.__file__)))
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != source]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([source, *others])}


def _answers(transport: Transport, daemon: subprocess.Popen[bytes]) -> bool:
    """Wait until the socket takes connections; there is no event for that, so look often, and give up in time."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if _is_there(transport):
            return True
        if daemon.poll() not in (None, 0):
            return False
        time.sleep(0.005)
    return False


def _is_there(transport: Transport) -> bool:
    try:
        transport.connect().close()
    except OSError:
        return False
    return True


def _end_of_log(since: int) -> str:
    with open(LOG, "rb") as log:
        log.seek(since)
        lines = log.read().decode("utf-8", "replace").splitlines()
    return "\n".join(lines[-TAIL_LINES:])
