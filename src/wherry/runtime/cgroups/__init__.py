"""Control groups: limits, accounting, freezing and killing of a container's processes.

``contract.py`` says what a cgroup is; ``v1.py`` and ``v2.py`` are the two implementations, chosen by what is mounted;
the modules named after them translate limits and counters. Everything acts through
:class:`~wherry.runtime.cgroups.directory.Files`.

``systemd.py`` has systemd make the cgroup; it is used as any other then.

Floors, lowest first: ``convert``, ``dbus``, ``directory``, ``resources``, ``scope``; ``common_limits``, ``contract``,
``devices``, ``hierarchies``, ``kept_files``, ``removal``; ``features``, the limits and statistics of each version,
``scope_properties``; ``v1``, ``v2``, ``systemd``.

What a container *should* be limited to does not belong here.
"""

from __future__ import annotations

import builtins
import os
from contextlib import suppress
from typing import Final

from wherry.errors import InvalidInput, NotFound, Unsupported, WherryError
from wherry.runtime.cgroups.contract import Cgroup, Statistics, Watch
from wherry.runtime.cgroups.directory import Files, KernelFiles
from wherry.runtime.cgroups.features import Features, look
from wherry.runtime.cgroups.hierarchies import Hierarchies, find
from wherry.runtime.cgroups.resources import Cpu, Resources
from wherry.runtime.cgroups.v1 import CgroupV1
from wherry.runtime.cgroups.v2 import CgroupV2

__all__ = [
    "Cgroup",
    "Features",
    "Hierarchies",
    "Resources",
    "Statistics",
    "Watch",
    "bind",
    "clear_unified",
    "end_all",
    "features",
    "hierarchies",
    "join_unified",
    "may_make",
    "names_below",
    "open",
]

_found: Hierarchies | None = None
_FILES: Final = KernelFiles()


def hierarchies() -> Hierarchies:
    """Return the mounted hierarchies. Looked up once, because they do not change later.

    :raises Unsupported: nothing is.
    """
    global _found  # noqa: PLW0603  a fact about the machine
    if _found is None:
        with builtins.open("/proc/self/mountinfo") as mountinfo:
            _found = find(mountinfo.read(), _FILES)
    return _found


def features() -> Features:
    """Return what limits this machine has.

    :raises Unsupported: no cgroup file system is mounted.
    """
    return look(hierarchies(), _FILES)


def open(path: str, files: Files = _FILES) -> Cgroup:
    """Return a container's cgroup, which need not exist.

    :param path: where it is in the hierarchies, ``"/wherry/<id>"``.
    :param files: what reads and writes its files.
    :raises InvalidInput: the path is not absolute, is the root, or has ``..`` in it.
    :raises Unsupported: no cgroup file system is mounted.
    """
    return bind(path, hierarchies(), files)


def names_below(path: str) -> frozenset[str]:
    """Return the names of all that are below a cgroup in any hierarchy; it need not exist.

    Of thousands of cgroups that do not exist, each would have to be looked for in each hierarchy.

    :param path: as for `open`; here it may be the root.
    """
    found: set[str] = set()
    for directory in {os.path.dirname(one) for one in open(f"{path}/any").paths().values()}:
        with suppress(FileNotFoundError):
            found.update(os.listdir(directory))
    return frozenset(found)


def may_make(path: str) -> bool:
    """Whether this process may make a cgroup, and put processes into it, in every hierarchy.

    :param path: as for `open`.
    """
    return all(_may_make(directory) for directory in set(open(path).paths().values()))


def _may_make(directory: str) -> bool:
    while not os.path.exists(directory):
        directory = os.path.dirname(directory)
    return os.access(directory, os.W_OK | os.X_OK, effective_ids=True) and os.access(
        f"{directory}/cgroup.procs", os.W_OK, effective_ids=True
    )


def join_unified(path: str, pid: int) -> None:
    """Put a process into a cgroup's directory in the unified hierarchy, where that is beside version 1's (*hybrid*).

    Only systemd makes any there, to know which processes its units have.
    """
    found = hierarchies()
    if found.version == 1 and found.v2 is not None:
        with suppress(FileNotFoundError):
            _FILES.write(f"{found.v2}{path}/cgroup.procs", [str(pid)])


def clear_unified(path: str) -> None:
    """Remove the same directory, and those above it, as far as they are empty; other runtimes make some there, too."""
    found = hierarchies()
    if found.version == 1 and found.v2 is not None:
        with suppress(OSError):
            while path.strip("/"):
                _FILES.remove(f"{found.v2}{path}")
                path = path.rpartition("/")[0]


def end_all(group: Cgroup, timeout: float = 10.0) -> None:
    """Kill every process of a cgroup, which need not exist, and wait for their ends; to be called in a thread.

    An end takes processor time, and many take more than a limit gives in minutes: so that limit goes.

    :param timeout: seconds.
    :raises Unavailable: some process did not end in time.
    """
    try:
        if not group.pids():
            return
    except NotFound:
        return
    with suppress(WherryError):  # there is no such limit on this machine
        group.apply(Resources(cpu=Cpu(quota=-1)))
    group.kill_all(timeout)


def bind(path: str, found: Hierarchies, files: Files) -> Cgroup:
    """Return a cgroup of given hierarchies, which tests may have made up."""
    normal = _normal(path)
    if found.version == 1:
        return CgroupV1(normal, found.v1, files)
    if found.v2 is None:
        raise Unsupported("cgroup version 2 is not mounted")
    return CgroupV2(normal, found.v2, files)


def _normal(path: str) -> str:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not path.startswith("/") or not parts or ".." in parts or "\0" in path:
        raise InvalidInput(f"the cgroup path {path!r} must be absolute, below the root and without '..'")
    return "/" + "/".join(parts)
