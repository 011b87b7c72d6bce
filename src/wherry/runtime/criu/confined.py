"""What a restored container is, compared with its specification: before any of its processes goes on.

An image decides on namespaces, capabilities and filters by itself. Here it is noticed when that is more than the
specification gives; the container is ended then. What is *in* a filter, and in memory, is the image's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from wherry.errors import Forbidden
from wherry.linux import capabilities
from wherry.linux.fd import Fd
from wherry.linux.mount import MOUNT_ATTR
from wherry.linux.proc import descendants
from wherry.oci.runtime_spec import Capabilities, Linux, Spec
from wherry.runtime import cgroups
from wherry.runtime.criu.mounts import mounted
from wherry.runtime.plan import Plan
from wherry.runtime.steps import path_in_root
from wherry.runtime.steps.masks import MaskPaths, ReadOnlyPaths
from wherry.runtime.steps.mounts import Bind

__all__ = ["check"]

_KINDS: Final = {"mount": "mnt", "network": "net"}
_MASKS: Final = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
_FILTER: Final = "2"


def check(pid: int, spec: Spec, plan: Plan) -> None:
    """Compare the processes of a container with its specification.

    :param plan: what it was compiled to.
    :raises Forbidden: one of them has more than that gives.
    """
    members = set(cgroups.open(plan.cgroup).pids())
    for one in descendants(pid):
        _check_namespaces(one, spec.linux or Linux())
        _check_rights(one, spec)
        _check_mounts(one, plan)
        if one not in members:
            raise Forbidden(f"process {one} of the image is not in the container's control group")


def _check_namespaces(pid: int, linux: Linux) -> None:
    for wanted in linux.namespaces:
        kind = _KINDS.get(wanted.type, wanted.type)
        found = _namespace(f"/proc/{pid}/ns/{kind}")
        if wanted.path and found == _namespace(wanted.path):
            continue
        if found == _namespace(f"/proc/self/ns/{kind}"):
            raise Forbidden(f"process {pid} of the image is in the host's {wanted.type} namespace")


def _namespace(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _check_rights(pid: int, spec: Spec) -> None:
    """Each thread has rights of its own."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        _check_thread(pid, _status(f"/proc/{pid}/task/{thread}/status"), spec)


def _check_thread(pid: int, status: dict[str, str], spec: Spec) -> None:
    process = spec.process
    if process is None:
        return
    bounding = (process.capabilities or Capabilities()).bounding
    given = capabilities.to_mask(capabilities.parse(name) for name in bounding)
    for name in _MASKS:
        if more := int(status[name], 16) & ~given:
            raise Forbidden(f"process {pid} of the image has capabilities beyond its specification: {name} {more:x}")
    if spec.linux is not None and spec.linux.seccomp is not None and status["Seccomp"] != _FILTER:
        raise Forbidden(f"process {pid} of the image has no filter of system calls")
    if process.no_new_privileges and status["NoNewPrivs"] != "1":
        raise Forbidden(
            f"process {pid} of the image may gain privileges",
            hint="criu before 3.19 does not restore noNewPrivileges",
        )


def _status(path: str) -> dict[str, str]:
    with open(path, encoding="utf-8", errors="replace") as file:
        return {name: value.strip() for name, _, value in (line.partition(":") for line in file)}


def _check_mounts(pid: int, plan: Plan) -> None:
    """What is to be hidden is hidden, and what is to be read-only is read-only."""
    closed = {one.place for one in mounted(pid) if one.is_read_only}
    with Fd(os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as root:
        for path in _closed_by(plan):
            found = path_in_root.existing(root, path)
            if found is None:
                continue
            with found:
                if os.readlink(f"/proc/self/fd/{found.fileno()}") not in closed:
                    raise Forbidden(f"process {pid} of the image sees {path!r}, which its specification closes")


def _closed_by(plan: Plan) -> Iterator[str]:
    for step in plan.steps:
        if isinstance(step, MaskPaths | ReadOnlyPaths):
            yield from (path for path, _ in step.paths)
        elif isinstance(step, Bind) and (step.set | step.set_below) & MOUNT_ATTR.RDONLY:
            yield step.destination
