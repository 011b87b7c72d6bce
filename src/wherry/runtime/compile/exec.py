"""Compile a process to be executed in a running container to a plan."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from msgspec.structs import replace

from wherry.errors import InvalidInput
from wherry.oci.runtime_spec import Linux, Process, Spec
from wherry.runtime.compile import notifications
from wherry.runtime.compile import process as compile_process
from wherry.runtime.compile.devices_of_host import intel_rdt
from wherry.runtime.compile.manner import KEEPERS, Manner
from wherry.runtime.compile.spec import cgroup_path
from wherry.runtime.plan import Plan
from wherry.runtime.steps.namespaces import AwaitParent, EnterCgroup, JoinContainer
from wherry.runtime.steps.step import Step

__all__ = ["ContainerState", "compile_exec"]


class ContainerState(NamedTuple):
    """A running container.

    :param pid: process ID of its first process, here.
    :param started: when that was started, in clock ticks since boot (field 22 of /proc/<pid>/stat): the number may be
        another process's by the time the plan is carried out.
    :param spec: what it was made by.
    :param bundle: its bundle's directory, if it has one.
    :param cgroup: path of its control group, if that does not follow from the specification.
    """

    container_id: str
    pid: int
    started: int
    spec: Spec
    bundle: str = ""
    cgroup: str = ""


def compile_exec(process: Process, *, state: ContainerState, manner: Manner = KEEPERS) -> Plan:
    """Turn a process to be executed in a running container into a plan.

    It joins all the container's namespaces and its control group, and has its filter and its further groups.
    Capabilities, resource limits, and whether privileges can be gained, are the container's own unless the process says
    otherwise; so are the processors that it begins and goes on with (``execCPUAffinity``, which is for execs only).

    :raises InvalidInput: the process asks for what cannot be.
    """
    if state.pid < 1:
        raise InvalidInput(f"{state.pid} is no process ID")
    first = state.spec.process
    if process.capabilities is None and first is not None:
        process = _with_containers_rights(process, first)
    if first is not None:
        process = replace(
            process,
            rlimits=process.rlimits or first.rlimits,
            exec_cpu_affinity=process.exec_cpu_affinity or first.exec_cpu_affinity,
        )
    compile_process.check(process)
    linux = state.spec.linux or Linux()
    cgroup = (state.cgroup or cgroup_path(linux, state.container_id)) if manner.grouped else ""
    affinity = process.exec_cpu_affinity
    listener = notifications.listener(state.spec, container_id=state.container_id, bundle=state.bundle, pid=state.pid)
    return Plan(
        cgroup=cgroup,
        container=(state.pid, state.started),
        oom_score_adj=process.oom_score_adj
        if process.oom_score_adj is not None or first is None
        else first.oom_score_adj,
        cpus=compile_process.processors(affinity.initial) if affinity else (),
        terminal=process.terminal,
        listener=listener,
        intel_rdt=intel_rdt(linux.intel_rdt, state.container_id),
        environment=compile_process.environment(process),
        steps=tuple(_steps(process, linux, state, cgroup, manner)),
    )


def _with_containers_rights(process: Process, first: Process) -> Process:
    return replace(
        process,
        capabilities=first.capabilities,
        no_new_privileges=process.no_new_privileges or first.no_new_privileges,
        apparmor_profile=process.apparmor_profile or first.apparmor_profile,
        selinux_label=process.selinux_label or first.selinux_label,
    )


def _steps(process: Process, linux: Linux, state: ContainerState, cgroup: str, manner: Manner) -> Iterator[Step]:
    yield from compile_process.first_steps(process)
    yield AwaitParent()
    if cgroup and not any(namespace.type == "user" for namespace in linux.namespaces):
        yield EnterCgroup(cgroup)
    yield JoinContainer()
    annotations, affinity = state.spec.annotations, process.exec_cpu_affinity
    yield from compile_process.user_steps(process, annotations)
    yield from compile_process.last_steps(
        process,
        container_id=state.container_id,
        filter_profile=linux.seccomp,
        annotations=annotations,
        cpus=affinity.final if affinity else "",
        inside=any(namespace.type == "pid" for namespace in linux.namespaces),
        manner=manner,
    )
