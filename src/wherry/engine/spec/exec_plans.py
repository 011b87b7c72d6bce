"""Plans of execs: a health check, and whoever looks into a container again and again, asks for the same one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wherry.errors import Conflict
from wherry.linux.proc import start_time
from wherry.runtime.compile.exec import ContainerState, compile_exec

if TYPE_CHECKING:
    from wherry.engine.container.container import Container
    from wherry.oci.runtime_spec import Process, Spec

__all__ = ["ExecPlans"]

_MOST: Final = 32
_LARGEST: Final = 1 << 16  # bytes of a plan that is kept


class ExecPlans:
    """The plans that were needed last, encoded.

    Compiling is pure, so the same process in the same container has the same plan. That is a matter of what the
    container was started with, and of when: its first process has another number after another start.
    """

    def __init__(self) -> None:
        self._known: Final[dict[tuple[Process, str, int, str], tuple[Spec, bytes]]] = {}

    def encoded(self, process: Process, container: Container, spec: Spec) -> bytes:
        """What `compile_exec` makes of a process in a container that runs, as `Plan.encode` gives it.

        :param spec: by which the container runs.
        :raises InvalidInput: the process asks for what cannot be.
        :raises Conflict: the container does not run any more.
        """
        pid = container.state.pid
        key = process, container.id, pid, container.state.started_at
        known = self._known.pop(key, None)
        if known is None or known[0] is not spec:
            started = start_time(pid)
            if started is None:
                raise Conflict("the container is not running")
            known = spec, compile_exec(process, state=ContainerState(container.id, pid, started, spec)).encode()
        if len(known[1]) <= _LARGEST:
            self._known[key] = known
        if len(self._known) > _MOST:
            del self._known[next(iter(self._known))]
        return known[1]
