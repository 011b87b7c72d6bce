"""Make a container of a bundle: ``create``, and the first half of ``run``."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any, NamedTuple

from wherry.errors import SystemFault, WherryError
from wherry.linux.proc import start_time
from wherry.oci.runtime_spec import Hook, Hooks, Spec
from wherry.ociruntime.bundle import encode_spec, read_bundle
from wherry.ociruntime.call import Call
from wherry.ociruntime.console import check_socket
from wherry.ociruntime.container import Container, Record, boot_id, state_text
from wherry.ociruntime.flags import Flags
from wherry.ociruntime.following import Started, follow
from wherry.ociruntime.foreground import Signals
from wherry.ociruntime.grouping import with_group, without_devices
from wherry.ociruntime.lasting_hooks import run_here, run_poststop
from wherry.runtime import cgroups
from wherry.runtime.cgroups.scope import Scope
from wherry.runtime.compile.hooks import hook_values
from wherry.runtime.compile.manner import Manner
from wherry.runtime.compile.spec import compile_spec
from wherry.runtime.launch import launch
from wherry.runtime.plan import Plan
from wherry.runtime.steps.hooks import PID

__all__ = [
    "MAKING_FLAGS",
    "Made",
    "make",
    "note_groups",
    "preserved_descriptors",
    "record_of",
    "scope_of",
    "undo",
    "write_pid_file",
]

MAKING_FLAGS = {
    "bundle": True,
    "console-socket": True,
    "pidfd-socket": True,
    "pid-file": True,
    "no-pivot": False,
    "no-new-keyring": False,
    "preserve-fds": True,
    "config": True,
}
_KINDS = ("prestart", "createRuntime", "startContainer", "poststart", "poststop")


class Made(NamedTuple):
    """A container that was made; its directory is locked until that is closed."""

    container: Container
    record: Record
    started: Started


def make(call: Call, flags: Flags, name: str, *, waits: bool, detach: bool, signals: Signals | None = None) -> Made:
    """Make a container.

    :param waits: its process waits to be started; otherwise it runs the program, unless hooks come first.
    :param signals: who is to let them end this command while hooks are run.
    :raises WherryError: there is no container then, and nothing of it.
    """
    bundle = os.path.abspath(flags.text("bundle", "."))
    spec = read_bundle(bundle, flags.text("config"))
    terminal = spec.process is not None and spec.process.terminal
    check_socket(flags.text("console-socket"), terminal=terminal, detach=detach)
    preserved = preserved_descriptors(flags)
    if preserved and "LISTEN_FDS" in os.environ:
        spec = _with_listen_fds(spec)
    record = record_of(name, bundle, spec)
    spec, grouped = with_group(call, spec, name)
    manner = Manner(
        waits=waits or bool(record.hooks["startContainer"]),
        apart=True,
        preserved=preserved,
        keyring=not flags.is_on("no-new-keyring"),
        pivot=not flags.is_on("no-pivot"),
        grouped=grouped,
        state=state_text(record, "creating", PID.decode()).encode(),
    )
    scope = scope_of(call, spec, name)
    plan = compile_spec(spec, container_id=name, bundle=bundle, scope=scope, manner=manner)
    if call.is_rootless:
        plan = without_devices(plan)
    for line in plan.describe() if call.log.debugs else ():
        call.log.debug(line)
    note_groups(record, plan)
    container = Container.claim(call.root, name)  # nothing was done up to here
    try:
        container.write_config(encode_spec(spec))
        return _start(flags, container, record, plan, preserved, signals=signals)
    except BaseException:
        undo(call, container, record)
        raise


def _start(
    flags: Flags, container: Container, record: Record, plan: Plan, preserved: int, *, signals: Signals | None
) -> Made:
    def cloned(pid: int) -> None:
        record.pid, record.started = pid, start_time(pid) or 0
        container.write(record)  # hooks may ask for the state

    def hooks(_: int) -> None:
        with signals or nullcontext():
            for kind in ("prestart", "createRuntime"):
                run_here(record, kind, "creating")

    try:
        started = follow(
            plan,
            console_socket=flags.text("console-socket"),
            pidfd_socket=flags.text("pidfd-socket"),
            preserved=preserved,
            cloned=cloned,
            hooks=hooks,
        )
    except WherryError as error:
        raise _in_callers_words(error) from error
    try:
        record.pid, record.started = started.pid, start_time(started.pid) or 0
        record.phase = "created"
        container.write(record)
        if path := flags.text("pid-file"):
            write_pid_file(path, started.pid)
    except BaseException:
        started.kill()
        launch.cleanup(plan)
        raise
    return Made(container, record, started)


def _in_callers_words(error: WherryError) -> WherryError:
    """Say what failed in the words that callers expect before its cause."""
    text = f"unable to start container process: {error}"
    return SystemFault(text)


def record_of(name: str, bundle: str, spec: Spec) -> Record:
    """Return the record of a container that is to be made."""
    now = time.time_ns()
    created = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 10**9))
    new = {one.type for one in spec.linux.namespaces if not one.path} if spec.linux else set()
    return Record(
        id=name,
        version=spec.oci_version,
        boot=boot_id(),
        bundle=bundle,
        rootfs=spec.root.path if spec.root else "",
        created=f"{created}.{now % 10**9:09d}Z",
        annotations=dict(spec.annotations),
        own_pids="pid" in new,
        hooks=_hooks(spec.hooks or Hooks()),
    )


def _hooks(wanted: Hooks) -> dict[str, list[tuple[Any, ...]]]:
    by_kind: tuple[tuple[str, Iterable[Hook]], ...] = (
        ("prestart", wanted.prestart),
        ("createRuntime", wanted.create_runtime),
        ("startContainer", wanted.start_container),
        ("poststart", wanted.poststart),
        ("poststop", wanted.poststop),
    )
    return {kind: [tuple(hook) for hook in hook_values(kind, some)] for kind, some in by_kind}


def scope_of(call: Call, spec: Spec, name: str) -> Scope | None:
    """Return systemd's unit for a container; None where systemd does not manage control groups."""
    if not call.systemd or not call.groups:
        return None
    from wherry.runtime.cgroups import systemd  # noqa: PLC0415  only where it is asked for

    path = spec.linux.cgroups_path if spec.linux else ""
    return systemd.scope_for(path, spec.annotations, name, user=call.is_rootless)


def note_groups(record: Record, plan: Plan) -> None:
    """Write down in a record which control group the container gets."""
    record.scope = None if plan.scope is None else tuple(plan.scope)
    record.intel_rdt = None if plan.intel_rdt is None else tuple(plan.intel_rdt)
    if not plan.cgroup:
        return
    group = cgroups.open(plan.cgroup)
    paths = group.paths()
    record.cgroup = group.path
    record.groups = list(dict.fromkeys(paths.values()))
    if group.version == 2:
        record.freezer = f"{paths['']}/cgroup.freeze"
    elif "freezer" in paths:
        record.freezer = f"{paths['freezer']}/freezer.state"


def undo(call: Call, container: Container, record: Record) -> None:
    """Remove the directory of a container that did not come to be; its hooks may have done something by then."""
    with container:
        container.remove()
        if record.pid:
            run_poststop(record, call.log)


def _with_listen_fds(spec: Spec) -> Spec:
    """Pass on what a socket-activating parent has said (sd_listen_fds(3))."""
    from msgspec.structs import replace  # noqa: PLC0415  seldom

    if spec.process is None:
        return spec
    passed_on = (f"LISTEN_FDS={os.environ['LISTEN_FDS']}", "LISTEN_PID=1")
    return replace(spec, process=replace(spec.process, env=(*spec.process.env, *passed_on)))


def preserved_descriptors(flags: Flags) -> int:
    """Return how many descriptors from 3 on the program is to have.

    :raises InvalidInput: that is no number of descriptors.
    """
    number = flags.number("preserve-fds")
    listening = os.environ.get("LISTEN_FDS", "0")
    number += int(listening) if listening.isdigit() else 0
    if not 0 <= number <= 1024:
        raise SystemFault(f"{number} descriptors cannot be preserved")
    return number


def write_pid_file(path: str, pid: int) -> None:
    """Write a process's number to a file, in one step.

    :raises SystemFault: that cannot be.
    """
    place, name = os.path.split(os.path.abspath(path))
    draft = f"{place}/.{name}"
    try:
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        with open(fd, "w", encoding="ascii") as file:
            file.write(str(pid))
        os.rename(draft, path)
    except OSError as error:
        raise SystemFault(f"the file {path!r} cannot be written", cause=error.strerror) from error
