"""The manager of control groups that is systemd: a container is a transient scope.

How it goes, for whoever starts containers::

    scope = systemd.scope_for(spec, container_id, user=...)   # names only; asks the user's manager where it is
    plan = compile_spec(spec, container_id=..., scope=scope)  # plan.cgroup is the scope's path
    launch(plan, ...)                                         # makes the scope, with the process in it, and the limits
    ...
    systemd.update(scope, resources, version)                 # beside cgroups.open(scope.path).apply(resources)
    systemd.stop(scope)                                       # at the end, before the cgroup's destroy()

The cgroup itself is used as any other: ``cgroups.open(scope.path)``. The scope is *delegated*, so that systemd leaves
what is below it alone, and limits are given twice: as the unit's properties, because systemd writes those again when it
is reloaded, and into the cgroup's files, which know more. With version 1, systemd makes the scope only in the
hierarchies that it uses itself; wherry makes it in all others.

Works for any Linux with systemd 235 or later, in all three layouts of cgroups; see org.freedesktop.systemd1(5).
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any, Final

from wherry.errors import Conflict, SystemFault
from wherry.runtime.cgroups.dbus import Conversation, Refused
from wherry.runtime.cgroups.resources import Resources
from wherry.runtime.cgroups.scope import Scope, scope_of
from wherry.runtime.cgroups.scope_properties import annotated, limiting

__all__ = ["is_running", "scope_for", "start", "stop", "update"]

_NO_SUCH_UNIT: Final = "org.freedesktop.systemd1.NoSuchUnit"
_EXISTS: Final = "org.freedesktop.systemd1.UnitExists"
_UNKNOWN: Final = frozenset(
    {"org.freedesktop.DBus.Error.PropertyReadOnly", "org.freedesktop.DBus.Error.UnknownProperty"}
)
_ACCOUNTING: Final = {1: ("CPU", "Memory", "BlockIO", "Tasks"), 2: ("CPU", "Memory", "IO", "Tasks")}


def is_running() -> bool:
    """Whether this machine was booted with systemd; see sd_booted(3)."""
    return os.path.isdir("/run/systemd/system")


def scope_for(cgroups_path: str, annotations: dict[str, str], container_id: str, *, user: bool = False) -> Scope:
    """Return the scope of a container.

    :param cgroups_path: ``linux.cgroupsPath``: ``slice:prefix:name``, or empty.
    :param annotations: the specification's; ``org.systemd.property.*`` are further properties of the unit.
    :param user: whether it is the user's own manager that makes it, for a container without root's rights.
    :raises InvalidInput: the path is of another form.
    :raises Unsupported: the user's manager does not run.
    """
    root = _own_group() if user else ""
    return scope_of(cgroups_path, container_id, user=user, root=root, properties=annotated(annotations))


def _own_group() -> str:
    with Conversation(user=True) as systemd:
        asked = ("org.freedesktop.systemd1.Manager", "ControlGroup")
        (variant,) = systemd.call("Get", "ss", asked, interface="org.freedesktop.DBus.Properties")
        return str(variant[1])


def start(scope: Scope, pid: int, resources: Resources, version: int) -> None:
    """Make a scope with a process in it, and wait until it is there.

    A scope that has failed and was not forgotten makes room.

    :param version: of cgroups.
    :raises Conflict: there is such a unit already.
    :raises SystemFault: systemd refuses.
    """
    properties = _properties(scope, pid, resources, version)
    with Conversation(user=scope.user) as systemd:
        systemd.call("Subscribe")
        try:
            _start(systemd, scope.unit, properties)
        except Refused as error:
            if error.name != _EXISTS:
                raise SystemFault(f"systemd does not make the unit {scope.unit!r}", cause=str(error)) from error
            with suppress(Refused):
                systemd.call("ResetFailedUnit", "s", (scope.unit,))
            try:
                _start(systemd, scope.unit, properties)
            except Refused as again:
                raise Conflict(f"systemd has a unit {scope.unit!r} already", cause=str(again)) from again


def _start(systemd: Conversation, unit: str, properties: list[tuple[str, tuple[str, Any]]]) -> None:
    (job,) = systemd.call("StartTransientUnit", "ssa(sv)a(sa(sv))", (unit, "replace", properties, []))
    _await_job(systemd, job, f"start {unit}")


def _await_job(systemd: Conversation, job: str, doing: str) -> None:
    _, _, _, result = systemd.await_signal("JobRemoved", lambda body: body[1] == job)
    if result != "done":
        raise SystemFault(f"systemd could not {doing}", cause=f"the job's result is {result!r}")


def _properties(scope: Scope, pid: int, resources: Resources, version: int) -> list[tuple[str, tuple[str, Any]]]:
    own: list[tuple[str, str, Any]] = [("Description", "s", f"wherry container {scope.container_id}")]
    if scope.unit.endswith(".slice"):
        own.append(("Wants", "as", [scope.slice]))
    else:
        own += [("Slice", "s", scope.slice), ("Delegate", "b", True), ("PIDs", "au", [pid])]
    own += [(f"{what}Accounting", "b", True) for what in _ACCOUNTING[version]]
    own.append(("DefaultDependencies", "b", False))
    found = {name: (signature, value) for name, signature, value in (*own, *limiting(resources, version))}
    found |= {name: (signature, value) for name, signature, value in scope.properties}
    return list(found.items())


def update(scope: Scope, resources: Resources, version: int) -> None:
    """Change the limits that systemd keeps; the cgroup's files are the caller's to write.

    :raises SystemFault: systemd refuses.
    """
    properties = [(name, (signature, value)) for name, signature, value in limiting(resources, version)]
    if not properties:
        return
    with Conversation(user=scope.user) as systemd:
        try:
            systemd.call("SetUnitProperties", "sba(sv)", (scope.unit, True, properties))
        except Refused as error:
            if error.name in _UNKNOWN:
                return  # an older systemd: the files hold
            raise SystemFault(f"systemd does not change the unit {scope.unit!r}", cause=str(error)) from error


def stop(scope: Scope) -> None:
    """End what is left in a scope and forget it; without effect if it is gone.

    :raises SystemFault: systemd could not.
    """
    with Conversation(user=scope.user) as systemd:
        systemd.call("Subscribe")
        try:
            (job,) = systemd.call("StopUnit", "ss", (scope.unit, "replace"))
        except Refused as error:
            if error.name != _NO_SUCH_UNIT:
                raise SystemFault(f"systemd does not stop the unit {scope.unit!r}", cause=str(error)) from error
        else:
            _await_job(systemd, job, f"stop {scope.unit}")
        with suppress(Refused):  # it has not failed, so there is nothing to forget
            systemd.call("ResetFailedUnit", "s", (scope.unit,))
