"""``wherry-oci delete``: remove a container that has stopped."""

from __future__ import annotations

import os

from wherry.errors import Conflict, CorruptData, NotFound, Unavailable
from wherry.ociruntime import signals
from wherry.ociruntime.call import Call, one_argument
from wherry.ociruntime.container import Container, Record
from wherry.ociruntime.flags import parse
from wherry.ociruntime.lasting_hooks import run_poststop

__all__ = ["ARGUMENTS", "FLAGS", "delete", "run"]

FLAGS = {"force": False}
ARGUMENTS = "ID"
_PATIENCE = 10.0


def run(call: Call, arguments: list[str]) -> int:
    """Remove it; with ``--force`` one that runs as well, and one that is not there is no error."""
    flags, rest = parse(arguments, FLAGS, short={"f": "force"})
    force = flags.is_on("force")
    try:
        container = Container.open(call.root, one_argument(rest, "delete"))
    except NotFound:
        if force:
            return 0
        raise
    with container:
        try:
            record = container.read()
        except (NotFound, CorruptData):
            container.remove()  # who made it was killed
            if force:
                return 0
            raise
        status = record.status()
        if status not in ("stopped", "created") and not force:
            raise Conflict(f"cannot delete container {record.id} that is not stopped: {status}")
        delete(call, container, record, status)
    return 0


def delete(call: Call, container: Container, record: Record, status: str) -> None:
    """End what is left of a container, and remove it.

    :raises Unavailable: it does not end.
    """
    if status != "stopped":
        if not record.groups and not record.own_pids:
            from wherry.ociruntime.group import end_all  # noqa: PLC0415

            end_all(record)  # when the first process has ended, nobody can tell any more which are its others
        _end(record)
    _remove_groups(call, record)
    container.remove()
    run_poststop(record, call.log)


def _end(record: Record) -> None:
    try:
        signals.send(record.pid, record.started, signals.KILL)
    except Conflict:
        return
    record.thaw()
    if not signals.wait_for_end(record.pid, record.started, _PATIENCE):
        raise Unavailable(f"container {record.id} does not end")


def _remove_groups(call: Call, record: Record) -> None:
    """Remove the directories of the control group; the careful way only if that does not do.

    A container without a PID namespace of its own leaves processes behind, which are ended. Who else is in the group is
    not the container's, and keeps it.
    """
    if record.scope is not None or record.intel_rdt is not None:
        from wherry.ociruntime.group import forget  # noqa: PLC0415

        forget(record)
    done = record.own_pids
    for path in record.groups if done else ():
        try:
            os.rmdir(path)
        except FileNotFoundError:
            continue
        except OSError:  # processes are still ending, or there are groups in it
            done = False
    if not done:
        from wherry.ociruntime.group import destroy, end_all  # noqa: PLC0415

        if not record.own_pids:
            end_all(record)
        try:
            destroy(record)
        except Conflict as error:
            call.log.warn(str(error))
