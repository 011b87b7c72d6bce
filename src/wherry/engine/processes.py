"""The processes in a container, as ``docker top`` shows them: what ``ps`` on the host says of them."""

from __future__ import annotations

import asyncio
import shutil
from typing import Any

from wherry.engine.container import Container
from wherry.errors import InvalidInput, Unsupported
from wherry.runtime import cgroups

__all__ = ["top"]


async def top(container: Container, cgroup: str, ps_args: str) -> dict[str, Any]:
    """The body of ContainerTop.

    :param cgroup: the container's path in the cgroup hierarchies.
    :param ps_args: arguments for ``ps``; ``-ef`` when empty. Its output must have a PID column.
    :raises Conflict: the container does not run.
    :raises InvalidInput: ``ps`` does not take these arguments.
    :raises Unsupported: there is no ``ps`` on this host.
    """
    container.state.check_running(container.id)
    program = shutil.which("ps")
    if program is None:
        raise Unsupported("there is no ps on this host", hint="install the package procps")
    pids = {str(pid) for pid in cgroups.open(cgroup).pids(recursive=True)}
    words = (ps_args or "-ef").split()
    child = await asyncio.create_subprocess_exec(
        program, *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, complaint = await child.communicate()
    if child.returncode:
        reason = complaint.decode(errors="replace").strip().partition("\n")[0]  # behind it: how to use ps
        raise InvalidInput("error running ps", cause=reason)
    return _chosen(out.decode(errors="replace").splitlines(), pids)


def _chosen(lines: list[str], pids: set[str]) -> dict[str, Any]:
    titles = lines[0].split() if lines else []
    if "PID" not in titles:
        raise InvalidInput("Couldn't find PID field in ps output")
    column = titles.index("PID")
    rows = [line.split(None, len(titles) - 1) for line in lines[1:]]
    return {"Titles": titles, "Processes": [row for row in rows if len(row) > column and row[column] in pids]}
