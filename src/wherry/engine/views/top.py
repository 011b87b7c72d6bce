"""The processes in a container, from ``ps`` on the host: ``docker top``."""

from __future__ import annotations

import asyncio
import shutil
from typing import Final

from wherry.docker.container_answers import ContainerTop
from wherry.engine.container.container import Container
from wherry.engine.threads.bounded_call import call_bounded
from wherry.errors import InvalidInput, Unavailable, Unsupported
from wherry.runtime import cgroups

__all__ = ["top"]

_PATIENCE: Final = 30.0  # seconds


async def top(container: Container, cgroup: str, ps_args: str) -> ContainerTop:
    """The body of ContainerTop.

    :param cgroup: the container's path in the cgroup hierarchies.
    :param ps_args: arguments for ``ps``; ``-ef`` when empty. Its output must have a PID column.
    :raises Conflict: the container does not run.
    :raises InvalidInput: ``ps`` does not take these arguments.
    :raises Unsupported: there is no ``ps`` on this host.
    :raises Unavailable: it does not end.
    """
    container.state.check_running(container.id)
    program = shutil.which("ps")
    if program is None:
        raise Unsupported("there is no ps on this host", hint="install the package procps")
    group = cgroups.open(cgroup)  # how many are in it, and below, is the container's choice
    pids = {str(pid) for pid in await call_bounded(f"list the processes of {container.name}", group.pids)}
    words = (ps_args or "-ef").split()
    try:
        child = await asyncio.create_subprocess_exec(
            program, *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
    except (ValueError, OSError) as exc:  # a null byte, or more than the kernel takes
        raise InvalidInput("error running ps", cause=str(exc)) from exc
    try:
        out, complaint = await asyncio.wait_for(child.communicate(), _PATIENCE)
    except TimeoutError:  # it reads every process's memory, and one may wait for a file system that does not answer
        child.kill()
        raise Unavailable(f"ps does not end within {_PATIENCE:g} s") from None
    if child.returncode:
        reason = complaint.decode(errors="replace").strip().partition("\n")[0]  # behind it: how to use ps
        raise InvalidInput("error running ps", cause=reason)
    return _chosen(out.decode(errors="replace").splitlines(), pids)


def _chosen(lines: list[str], pids: set[str]) -> ContainerTop:
    titles = lines[0].split() if lines else []
    if "PID" not in titles:
        raise InvalidInput("Couldn't find PID field in ps output")
    column = titles.index("PID")
    rows = [line.split(None, len(titles) - 1) for line in lines[1:]]
    return ContainerTop(titles=titles, processes=[row for row in rows if len(row) > column and row[column] in pids])
