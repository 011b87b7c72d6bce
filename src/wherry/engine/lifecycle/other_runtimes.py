"""Containers of other OCI runtimes (``wherryd --add-runtime``): their plans, signals, and what they leave.

The keeper runs ``create`` and ``start``, or ``exec``; here are ``kill`` and ``delete``, which need no terminal and no
streams.
"""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from wherry import ociruntime
from wherry.engine.spec.bundle import has_outer_hooks
from wherry.errors import Unsupported
from wherry.runtime import cgroups
from wherry.runtime.compile.other_runtime import Runtime, compile_other, compile_other_exec

if TYPE_CHECKING:
    from wherry.engine.container.container import Container
    from wherry.engine.settings import Settings
    from wherry.oci.runtime_spec import Process, Spec
    from wherry.runtime.plan import Plan

__all__ = [
    "console", "delete", "exec_plan", "has_bundle", "other_runtime", "own_command", "passed_on", "plan",
    "running_hooks", "runtime_for", "send",
]  # fmt: skip

_log: Final = logging.getLogger(__name__)
_OWN: Final = frozenset({"", "wherry"})
_PASSED_ON: Final = ("PATH", "TMPDIR", "XDG_RUNTIME_DIR")
_COMMAND: Final = "wherry-oci"
_BUNDLE: Final = "bundle"  #: in the directory of a container that another runtime has made
_PATIENCE: Final = 30.0  #: seconds that a command of a runtime's may take


def other_runtime(container: Container, settings: Settings) -> Runtime | None:
    """The runtime of a container that runs; None where the keeper itself has made it.

    :raises Unsupported: it is no longer among those that were added.
    """
    name = container.host.runtime or ""
    if name in _OWN:
        return running_hooks(settings.exec_root) if has_bundle(container.run_directory) else None
    found = settings.runtimes.get(name)
    if found is None:
        hint = f"give wherryd --add-runtime {name}=PATH"
        raise Unsupported(f"container {container.id} needs the runtime {name!r}, which was not added", hint=hint)
    return Runtime(name, found.path, found.arguments, str(settings.exec_root / "runtimes" / name))


def runtime_for(container: Container, spec: Spec, settings: Settings) -> Runtime | None:
    """The runtime that a container is to be started by; None for the keeper itself.

    Hooks outside of the container, and after its creation, would be the keeper's to wait for, who has others to look
    after. So a container that has such hooks is ``wherry-oci``'s, as it would be another runtime's.

    :raises Unsupported: it is no longer among those that were added.
    """
    if (container.host.runtime or "") in _OWN:
        return running_hooks(settings.exec_root) if has_outer_hooks(spec) else None
    return other_runtime(container, settings)


def own_command(state: Path) -> Runtime:
    """Wherry's own runtime as a command.

    :param state: the directory of what it knows.
    """
    entry = str(Path(ociruntime.__file__).with_name("entry.py"))
    return Runtime(_COMMAND, sys.executable, ("-I", "-S", entry), str(state), is_own=True)


def running_hooks(exec_root: Path) -> Runtime:
    """The same for containers, and steps of builds, that have hooks which the keeper does not run."""
    return own_command(exec_root / "runtimes" / _COMMAND)


def has_bundle(run_directory: Path) -> bool:
    """Whether what the keeper runs was made by another runtime, by the directory that the keeper has for it."""
    return (run_directory / _BUNDLE).is_dir()


def plan(container: Container, spec: Spec, runtime: Runtime, settings: Settings) -> Plan:
    """How the keeper has a container made and started."""
    directory = _bundle(container)
    return compile_other(
        spec, container_id=container.id, runtime=runtime, directory=directory,
        console=console(settings, container.id), environment=passed_on(), init_program=settings.init_path,
    )  # fmt: skip


def exec_plan(
    container: Container, process: Process, spec: Spec, *, runtime: Runtime, settings: Settings, name: str
) -> Plan:
    """How the keeper has a process executed in a container.

    :param name: of the exec.
    """
    return compile_other_exec(
        process, container_id=container.id, pid=container.state.pid, spec=spec, runtime=runtime,
        directory=_bundle(container), name=name, console=console(settings, name), environment=passed_on(),
    )  # fmt: skip


def _bundle(container: Container) -> str:
    directory = container.run_directory / _BUNDLE
    os.makedirs(directory, 0o700, exist_ok=True)
    return str(directory)


def console(settings: Settings, name: str) -> str:
    """Where a terminal is handed over: a path that is short enough for a socket."""
    return str(settings.exec_root / f"tty-{name[:16]}")


def passed_on() -> tuple[str, ...]:
    """What a runtime gets of the daemon's environment: where programs are."""
    return tuple(f"{name}={os.environ[name]}" for name in _PASSED_ON if name in os.environ)


async def send(container: Container, runtime: Runtime, number: int) -> None:
    """Signal the container's process by the runtime: its program may be no process of this kernel's."""
    command = runtime.command("kill", container.id, str(number))
    process = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        _, said = await asyncio.wait_for(process.communicate(), _PATIENCE)
    except TimeoutError:
        process.kill()
        _log.warning("a runtime does not come back from its kill container=%s", container.id)
    else:
        if process.returncode:
            _log.debug("a signal came too late container=%s error=%s", container.id, said[-500:])


def delete(identifier: str, runtime: Runtime, cgroup: str) -> None:
    """Have the runtime remove what it keeps of a container; to be called in a thread.

    :param identifier: of the container.
    :param cgroup: path of the container's.
    """
    command = runtime.command("delete", "--force", identifier)
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired) as exc:
        _log.warning("a runtime keeps something of a container container=%s error=%s", identifier, exc)
        return
    if done.returncode:
        _log.debug("nothing to delete container=%s error=%s", identifier, done.stderr[-500:])
    cgroups.clear_unified(os.path.dirname(cgroup))
    for directory in (runtime.state, os.path.dirname(runtime.state)):
        with suppress(OSError):  # it keeps other containers there
            os.rmdir(directory)
