"""Hooks that are run in the container, before its program is executed (``startContainer``).

The container's process waits, and stays as it is: a hook is another process in the same namespaces and the same control
group, with the program's own rights.
"""

from __future__ import annotations

import os
import select
from typing import Any, Final

from msgspec.structs import replace

from wherry.errors import StepFailed
from wherry.oci.runtime_spec import Spec
from wherry.ociruntime.container import Container, Record, state_text
from wherry.ociruntime.entering import compiled, enter, spec_of

__all__ = ["run_inside"]

#: A container's first process, as it sees itself in a PID namespace of its own.
_FIRST: Final = "1"


def run_inside(container: Container, record: Record) -> None:
    """Run a container's ``startContainer`` hooks.

    :raises StepFailed: one has failed; those after it were not run.
    """
    spec = spec_of(container)
    state = state_text(record, "created", _FIRST if record.own_pids else "")
    for index, hook in enumerate(record.hooks["startContainer"]):
        _run(record, spec, hook, state.encode(), f"run startContainer hook #{index}")


def _run(record: Record, spec: Spec, hook: tuple[Any, ...], state: bytes, doing: str) -> None:
    _, path, args, env, timeout = hook
    assert spec.process is not None
    process = replace(
        spec.process, args=(path, *args[1:]), env=spec.process.env if env is None else env, terminal=False
    )
    streams = [os.dup(number) for number in range(3)]
    given = os.memfd_create("state", os.MFD_CLOEXEC)
    null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(given, state)
        os.lseek(given, 0, os.SEEK_SET)
        for number, fd in enumerate((given, null, null)):
            os.dup2(fd, number)
        started = enter(compiled(record, spec, process))
        poll = select.poll()
        poll.register(started.pidfd.fileno(), select.POLLIN)
        if not poll.poll(None if timeout is None else timeout * 1000):
            started.kill()
            raise StepFailed(doing, f"{path!r} did not end within {timeout} seconds, and was killed")
        code = os.waitstatus_to_exitcode(os.waitpid(started.pid, 0)[1])
        if code:
            raise StepFailed(doing, f"{path!r}: " + (f"exit status {code}" if code > 0 else f"signal: {-code}"))
    finally:
        for number, fd in enumerate(streams):
            os.dup2(fd, number)
            os.close(fd)
        os.close(given)
        os.close(null)
