"""Clone a child into namespaces that the parent can join for its children only, or for a moment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from wherry.errors import StepFailed
from wherry.linux import namespaces
from wherry.linux.fd import Fd
from wherry.linux.process import CLONE, setns, unshare
from wherry.runtime.plan import Plan
from wherry.runtime.steps.namespaces import open_or_complain

__all__ = ["cloned_into"]


@contextmanager
def cloned_into(plan: Plan) -> Iterator[None]:
    """Let children be born into the plan's ``parent_joins`` and a new time namespace.

    This process is back in its own namespaces afterwards. The child, which runs inside the ``with`` and never leaves
    it, stays.
    """
    kinds = [kind for kind, _ in plan.parent_joins]
    if plan.time_offsets:
        kinds.append("time")
    if not kinds:
        yield
        return
    own = {kind: namespaces.open_namespace(os.getpid(), kind) for kind in kinds}
    try:
        _enter(plan)
        yield
    finally:
        _return(own)


def _enter(plan: Plan) -> None:
    for kind, path in plan.parent_joins:
        with open_or_complain(path, kind) as fd:
            setns(fd, namespaces.KINDS[kind])
    if plan.time_offsets:
        unshare(CLONE.NEWTIME)
        try:
            with open("/proc/self/timens_offsets", "w", encoding="ascii") as file:
                file.write(plan.time_offsets)
        except OSError as error:
            raise StepFailed(
                "set the clocks of the time namespace", error.strerror or "refused", errno=error.errno or 0
            ) from error


def _return(own: dict[str, Fd]) -> None:
    for kind, fd in own.items():
        setns(fd, namespaces.KINDS[kind])
        fd.close()
