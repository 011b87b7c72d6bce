"""Execute a process in a container that is there."""

from __future__ import annotations

from wherry.errors import InvalidInput
from wherry.oci.runtime_spec import Process, Spec
from wherry.ociruntime.bundle import decode_spec
from wherry.ociruntime.container import Container, Record
from wherry.ociruntime.following import Started, follow
from wherry.runtime.compile.exec import ContainerState, compile_exec
from wherry.runtime.compile.manner import Manner
from wherry.runtime.plan import Plan
from wherry.runtime.steps.namespaces import EnterCgroup

__all__ = ["compiled", "enter", "spec_of"]


def spec_of(container: Container) -> Spec:
    """Return what a container was made by."""
    return decode_spec(container.read_config())


def compiled(
    record: Record, spec: Spec, process: Process, *, keyring: bool = True, preserved: int = 0, cgroup: str = ""
) -> Plan:
    """Return the plan of a process in a container.

    :param cgroup: a control group below the container's.
    """
    state = ContainerState(record.id, record.pid, record.started, spec, record.bundle, record.cgroup)
    manner = Manner(apart=True, keyring=keyring, preserved=preserved, grouped=bool(record.groups))
    plan = compile_exec(process, state=state, manner=manner)
    return _in_group(plan, cgroup) if cgroup.strip("/") else plan


def _in_group(plan: Plan, below: str) -> Plan:
    if ".." in below.split("/") or ":" in below:
        raise InvalidInput(f"{below!r} is no control group below the container's")
    if not plan.cgroup:
        raise InvalidInput("the container has no control group")
    path = f"{plan.cgroup}/{below.strip('/')}"
    steps = tuple(EnterCgroup(path) if isinstance(step, EnterCgroup) else step for step in plan.steps)
    return plan._replace(cgroup=path, steps=steps)


def enter(plan: Plan, *, console_socket: str = "", pidfd_socket: str = "", preserved: int = 0) -> Started:
    """Start it."""
    return follow(plan, console_socket=console_socket, pidfd_socket=pidfd_socket, preserved=preserved)
