"""Start the program of a container whose process waits: ``start``, and the second half of ``run``."""

from __future__ import annotations

from wherry.errors import Conflict, WherryError
from wherry.ociruntime import signals
from wherry.ociruntime.lasting_hooks import run_here

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry.ociruntime.container import Container, Record

__all__ = ["START", "start", "started"]

#: The signal that a waiting process waits for (:mod:`wherry.runtime.steps.birth`).
START = 33
_PATIENCE = 10.0


def start(container: Container, record: Record) -> None:
    """Let the program of a container be executed.

    :param container: locked.
    :raises Conflict: it is not waiting for that.
    :raises WherryError: a hook failed; the container's process was ended.
    """
    status = record.status()
    if status == "stopped":
        raise Conflict("cannot start a container that has stopped")
    if status != "created":
        raise Conflict("cannot start an already running container" if status == "running" else f"container is {status}")
    if record.hooks.get("startContainer"):
        from wherry.ociruntime.inner_hooks import run_inside  # noqa: PLC0415  few containers have hooks

        _or_end(record, lambda: run_inside(container, record))
    signals.send(record.pid, record.started, START)
    started(container, record)


def started(container: Container, record: Record) -> None:
    """Note that a program was started, and run the hooks for that."""
    record.phase = "started"
    container.write(record)
    if record.hooks.get("poststart"):
        _or_end(record, lambda: run_here(record, "poststart", "running"))


def _or_end(record: Record, action: Callable[[], None]) -> None:
    try:
        action()
    except WherryError:
        try:
            signals.send(record.pid, record.started, signals.KILL)
            signals.wait_for_end(record.pid, record.started, _PATIENCE)
        except Conflict:
            pass
        raise
