"""``wherry-oci kill``: send a signal to a container."""

from __future__ import annotations

from wherry.errors import Conflict, InvalidInput
from wherry.ociruntime import signals
from wherry.ociruntime.call import Call
from wherry.ociruntime.container import Container, Record
from wherry.ociruntime.flags import parse

__all__ = ["ARGUMENTS", "FLAGS", "run"]

FLAGS = {"all": False, "regex": False}
ARGUMENTS = "ID [SIGNAL]"
#: What does nothing to a program that has not asked for it: CHLD, CONT, URG, WINCH; and 0, which is none.
_HARMLESS = frozenset({0, 17, 18, 23, 28})


def run(call: Call, arguments: list[str]) -> int:
    """Send it; ``TERM`` if none is named."""
    flags, rest = parse(arguments, FLAGS, short={"a": "all"})
    if len(rest) not in (1, 2):
        raise InvalidInput('"kill" requires a container ID, and at most a signal')
    number = signals.number_of(rest[1]) if len(rest) == 2 else signals.number_of("TERM")
    # The lock is not waited for: a hook that hangs must not keep anybody from ending the container.
    with Container.open(call.root, rest[0], lock=False) as container:
        record = container.read()
    status = record.status()
    if flags.is_on("all") or (number == signals.KILL and not record.own_pids):
        _send_to_all(record, number, status)
        return 0
    if status == "stopped":
        raise Conflict("container not running")
    if status == "created" and number not in _HARMLESS:
        number = signals.KILL  # what waits for its start handles no signal, and as process 1 it would ignore it
    signals.send(record.pid, record.started, number)
    if number == signals.KILL and status == "paused":
        record.thaw()
    return 0


def _send_to_all(record: Record, number: int, status: str) -> None:
    """Signal every process in the control group, which may outlive the first one."""
    from wherry.ociruntime.group import send_to_all  # noqa: PLC0415  reads all control groups

    if not send_to_all(record, number) and status == "stopped" and number != signals.KILL:
        raise Conflict("container not running")
