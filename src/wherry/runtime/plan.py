"""A plan: everything about a process to be started, decided and checked, as values.

Values only. The daemon compiles a plan and hands its bytes to the keeper, which carries it out. ``NamedTuple`` and not
``dataclass``, because the keeper would pay for importing ``inspect``.
"""

from __future__ import annotations

import marshal
import sys
from collections.abc import Hashable, Iterator
from functools import lru_cache
from typing import Any, Final, NamedTuple, cast

from wherry.errors import CorruptData
from wherry.runtime.cgroups.scope import Scope
from wherry.runtime.intel_rdt import IntelRdt
from wherry.runtime.steps import (
    birth,
    cgroup_mounts,
    devices,
    hooks,
    lsm,
    masks,
    mounts,
    namespaces,
    other_runtime,
    overlay,
    process,
    rootfs,
    sysctl,
    terminal,
    user,
    working_directory,
)
from wherry.runtime.steps.step import Step

__all__ = ["STEPS", "VERSION", "OtherRuntime", "Plan"]

#: Changes whenever a step or a field does: a keeper of another version refuses the plan instead of misreading it.
VERSION: Final = 8

#: All kinds of steps by name.
STEPS: Final[dict[str, type]] = {
    name: getattr(module, name)
    for module in (
        *(overlay, rootfs, mounts, cgroup_mounts, devices, hooks, masks, sysctl, lsm, user, namespaces),
        *(working_directory, process, terminal, birth, other_runtime),
    )
    for name in module.__all__
    if isinstance(getattr(module, name), type) and hasattr(getattr(module, name), "apply")
}
_HEADER: Final = ("wherry plan", VERSION, sys.version_info[:2])


class OtherRuntime(NamedTuple):
    """Another OCI runtime, whose commands the process runs.

    :ivar name: as it was added.
    :ivar pid_file: where it writes the number of the container's process.
    :ivar log: and its errors, as lines of JSON.
    :ivar console: the socket on which it hands a terminal over; empty for none.
    :ivar starts: whether its second command is ``start``.
    :ivar cgroup: of the container, which the runtime makes.
    :ivar removal: the command that removes what a start that fails has left.
    """

    name: str
    pid_file: str
    log: str
    console: str
    starts: bool
    cgroup: str
    removal: tuple[str, ...]


class Plan(NamedTuple):
    """How to start one process.

    The parent's part:

    :param cgroup: path of the control group, or an empty string to stay in the parent's.
    :param resources: the OCI specification's ``linux.resources``, to make the group with; None to join one that exists.
    :param scope: systemd's unit that this group is of; None where wherry makes it.
    :param namespaces: ``CLONE_NEW*`` flags of the namespaces that the process is born into.
    :param parent_joins: ``(kind, path)`` of namespaces that only the parent can have the child born into.
    :param user_path: an existing user namespace to be in.
    :param uid_map: and ``gid_map``: what is written to /proc/<pid>/uid_map of a new user namespace; empty without.
    :param time_offsets: what is written to /proc/self/timens_offsets; empty without a new time namespace.
    :param container: for an exec: process ID and start time (clock ticks, field 22 of /proc/<pid>/stat) of the
        container's first process.
    :param oom_score_adj: see proc(5); None is 0.
    :param cpus: on which processors to begin; empty for all.
    :param terminal: whether the child makes a terminal and sends its master.
    :param net_devices: the host's network devices to be moved: path of the network namespace, empty for the child's,
        and names here and there.
    :param intel_rdt: the class of service to be in.
    :param listener: where the seccomp listener is sent: path of a socket, and the container process state for it.
    :param other: the runtime that does it instead.
    :param prepared: numbers of the steps whose mounts are made outside of the container's user namespace.

    The child's part:

    :param environment: ``NAME=value`` strings.
    :param steps: in order; the last one executes the program.
    """

    cgroup: str = ""
    resources: dict[str, Any] | None = None
    namespaces: int = 0
    parent_joins: tuple[tuple[str, str], ...] = ()
    user_path: str = ""
    uid_map: str = ""
    gid_map: str = ""
    time_offsets: str = ""
    container: tuple[int, int] | None = None
    oom_score_adj: int | None = None
    cpus: tuple[int, ...] = ()
    terminal: bool = False
    net_devices: tuple[str, tuple[tuple[str, str], ...]] | None = None
    intel_rdt: IntelRdt | None = None
    listener: tuple[str, dict[str, Any]] | None = None
    scope: Scope | None = None
    other: OtherRuntime | None = None
    prepared: tuple[int, ...] = ()
    environment: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()

    def encode(self) -> bytes:
        """Return the plan as bytes, for a process of the same version of wherry and Python."""
        steps = [_plain_step(step) for step in self.steps]
        return marshal.dumps((_HEADER, _plain(self[:-1]), steps))

    @classmethod
    def decode(cls, data: bytes) -> Plan:
        """Read what :meth:`encode` wrote.

        :raises CorruptData: it is something else, or of another version.
        """
        try:
            header, fields, steps = marshal.loads(data)
        except (EOFError, ValueError, TypeError) as error:
            raise CorruptData("not a plan", cause=str(error)) from error
        if header != _HEADER:
            raise CorruptData(f"a plan of another version: {header!r}, not {_HEADER!r}")
        plan = cls._make((*fields, tuple(cast(Step, STEPS[name](*values)) for name, values in steps)))
        if plan.intel_rdt is not None:
            plan = plan._replace(intel_rdt=IntelRdt(*plan.intel_rdt))
        if plan.other is not None:
            plan = plan._replace(other=OtherRuntime(*plan.other))
        return plan if plan.scope is None else plan._replace(scope=Scope(*plan.scope))

    def describe(self) -> Iterator[str]:
        """Say what will be done, one thing per line."""
        if self.cgroup:
            yield f"{'join' if self.resources is None else 'make'} the control group {self.cgroup}"
        for step in self.steps:
            yield step.describe()


@lru_cache(maxsize=512)
def _known_step(kind: type, step: Hashable) -> tuple[str, Any]:
    """The kind is part of the key because named tuples of two kinds with the same fields are equal."""
    return kind.__name__, _plain(step)


def _plain_step(step: Step) -> tuple[str, Any]:
    """Most steps are the same for every container, and equal steps have equal bytes."""
    try:
        return _known_step(type(step), cast(Hashable, step))
    except TypeError:  # one that holds a list or a dictionary
        return type(step).__name__, _plain(step)


_ATOMS: Final = frozenset({str, int, bool, bytes, float, type(None)})


def _plain(value: Any) -> Any:
    """Reduce named tuples and flags to what ``marshal`` knows."""
    if type(value) in _ATOMS:
        return value
    if isinstance(value, tuple):
        return tuple([_plain(one) for one in value])
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    return value
