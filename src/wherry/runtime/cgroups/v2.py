"""Version 2: one directory."""

from __future__ import annotations

import errno
import os
import select
import time
from collections.abc import Iterable
from typing import Final

from wherry.errors import InvalidInput, NotFound, SystemCallError, Unavailable, Unsupported, WherryError
from wherry.linux import bpf
from wherry.linux.fd import Fd
from wherry.runtime.cgroups import removal, v2_statistics
from wherry.runtime.cgroups.contract import Statistics, Watch
from wherry.runtime.cgroups.devices import DeviceList
from wherry.runtime.cgroups.directory import Directory, Files, Limit
from wherry.runtime.cgroups.resources import DeviceAccess, Resources
from wherry.runtime.cgroups.v2_limits import limits

__all__ = ["CgroupV2"]

_PROCS, _SUBTREE, _CONTROLLERS, _EVENTS = (
    "cgroup.procs",
    "cgroup.subtree_control",
    "cgroup.controllers",
    "cgroup.events",
)
#: Controllers that a container gets where the machine has them; without one of them, limits cannot be set later on.
_WANTED: Final = ("cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc")
#: Why a controller cannot be enabled where this is no error until a limit needs it: the last three are a user's.
_NOT_ENABLED: Final = frozenset(
    {errno.EBUSY, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOENT, errno.EACCES, errno.EPERM, errno.EROFS}
)
#: Files of a controller that need not be named to exist in every cgroup.
_CORE: Final = frozenset({"cgroup"})


class CgroupV2:
    """A cgroup of version 2; see :class:`~wherry.runtime.cgroups.contract.Cgroup`.

    :param path: absolute, normalised, seen from the root of the hierarchy.
    :param top: where the hierarchy is mounted.
    """

    version: Final = 2

    def __init__(self, path: str, top: str, files: Files) -> None:
        self.path: Final = path
        self._top = Directory(files, top)
        self._files = files
        self._directory = Directory(files, top + path)

    def paths(self) -> dict[str, str]:
        """Return the directory."""
        return {"": self._directory.path}

    def exists(self) -> bool:
        """Whether it exists."""
        return self._directory.exists()

    # ------------------------------------------------------------------------------------------------------- beginning

    def create(self, resources: Resources) -> None:
        """Make the directory and set the limits."""
        self._limits(resources)  # what makes no sense is refused before anything is made
        directory = self._top
        made = False
        for name in self.path.strip("/").split("/"):
            self._enable_controllers(directory)
            directory /= name
            made = directory.make()
        try:
            self._write(self._limits(resources))
            if resources.devices is not None:
                self._set_devices(resources.devices)
        except WherryError:
            if made:
                self.destroy()
            raise

    def _enable_controllers(self, directory: Directory) -> None:
        """Let the cgroups in a directory have controllers."""
        available = directory.read(_CONTROLLERS).split()
        enabled = directory.read(_SUBTREE).split()
        missing: list[str] = [name for name in _WANTED if name in available and name not in enabled]
        if not missing:
            return
        try:
            self._files.write(f"{directory.path}/{_SUBTREE}", [" ".join(f"+{name}" for name in missing)])
        except OSError as error:
            self._enable_one_by_one(directory, missing, error)

    def _enable_one_by_one(self, directory: Directory, names: list[str], error: OSError) -> None:
        """Enable what can be: some controllers refuse while a process has real-time priority, for one."""
        if error.errno == errno.EBUSY and directory.path == self._top.path:
            self._clear_top()
        for name in names:
            try:
                self._files.write(f"{directory.path}/{_SUBTREE}", [f"+{name}"])
            except OSError as refused:
                if refused.errno not in _NOT_ENABLED:
                    operands = f"'+{name}' to {directory.path}/{_SUBTREE}"
                    raise SystemCallError("write", operands, refused.errno or errno.EIO) from refused

    def _clear_top(self) -> None:
        """Move the processes of the topmost directory into one of their own.

        Only the machine's real root may have processes *and* controllers for its children. The root of a cgroup
        namespace may not, and there wherry itself is among the processes: that is a container engine within a
        container, all of whose processes are in view.
        """
        if not self._top.has("cgroup.type"):
            return  # the real root
        refuge = self._top / "init"
        refuge.make()
        for pid in self._top.pids(recursive=False):
            try:
                self._files.write(f"{refuge.path}/{_PROCS}", [str(pid)])
            except OSError as error:
                if error.errno != errno.ESRCH:
                    raise SystemCallError(
                        "write", f"{pid} to {refuge.path}/{_PROCS}", error.errno or errno.EIO
                    ) from error

    def apply(self, resources: Resources) -> None:
        """Set limits."""
        limit = resources.memory.limit
        if resources.memory.check_before_update and limit is not None and limit > 0:
            used = self._directory.number("memory.current") or 0
            if used > limit:
                raise InvalidInput(f"the memory limit {limit} is below what is in use, {used}")
        self._write(self._limits(self._with_present_quota(resources)))
        if resources.devices is not None:
            self._set_devices(resources.devices)

    def _with_present_quota(self, resources: Resources) -> Resources:
        """Fill in the half of ``cpu.max`` that stays, because both halves are written together."""
        cpu = resources.cpu
        if (cpu.quota is None) == (cpu.period is None):
            return resources
        quota, _, period = self._directory.read_or("cpu.max", "max 100000").partition(" ")
        if cpu.quota is None:
            return resources._replace(cpu=cpu._replace(quota=-1 if quota == "max" else int(quota)))
        return resources._replace(cpu=cpu._replace(period=int(period)))

    def _limits(self, resources: Resources) -> list[Limit]:
        weighted = resources.block_io.weight is not None or bool(resources.block_io.weight_device)
        bfq = weighted and self._directory.has("io.bfq.weight")
        return limits(resources, bfq=bfq)

    def _write(self, wanted: Iterable[Limit]) -> None:
        """Write limits; one that is rejected gets a second chance after the others, on which it may depend."""
        again = []
        for limit in wanted:
            if limit.optional and not self._directory.has(limit.name):
                continue
            try:
                self._set(limit)
            except (InvalidInput, SystemCallError):
                again.append(limit)
        for limit in again:
            self._set(limit)

    def _set(self, limit: Limit) -> None:
        try:
            self._directory.set(limit.name, limit.value)
        except Unsupported as error:
            if limit.controller in _CORE or limit.controller in self._directory.read(_CONTROLLERS).split():
                raise
            cause = f"the controller {limit.controller!r} of cgroup version 2 is not available to {self.path!r}"
            raise Unsupported(f"cannot set {limit.name}", cause=cause) from error

    def _set_devices(self, entries: Iterable[DeviceAccess]) -> None:
        wanted = DeviceList.of(entries)
        with self._open_directory() as directory:
            if wanted.allow_by_default and not wanted.exceptions and not bpf.attached(directory):
                return
            with bpf.load_device_program(bpf.assemble_device_program(*wanted)) as program:
                bpf.replace_all(directory, program)

    def add(self, pid: int) -> None:
        """Move a process into it, or below it if it has handed its controllers on."""
        self._place().write(_PROCS, str(pid))

    def enter(self) -> None:
        """Move the calling process into it; 0 stands for the caller."""
        self._place().write(_PROCS, "0")

    def open_dir_fd(self) -> Fd | None:
        """Open the directory to clone into."""
        place = self._place()
        try:
            return self._files.open(place.path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise NotFound(f"there is no cgroup {place.path!r}") from error

    def _place(self) -> Directory:
        """Return where a process can be put.

        A container that runs systemd moves its processes into cgroups below this one and hands the controllers on to
        them; from then on, this one cannot take processes any more.
        """
        if not self._directory.read(_SUBTREE):
            return self._directory
        inhabited = (below for below in self._directory.descendants() if below.read_or(_PROCS, ""))
        return next(inhabited, self._directory)

    def _open_directory(self) -> Fd:
        try:
            return self._files.open(self._directory.path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise NotFound(f"there is no cgroup {self.path!r}") from error

    # ------------------------------------------------------------------------------------------------------- processes

    def pids(self, *, recursive: bool = True) -> list[int]:
        """Return its processes."""
        return self._directory.pids(recursive=recursive)

    def freeze(self, timeout: float = 10.0) -> None:
        """Stop all processes."""
        self._directory.write("cgroup.freeze", "1")
        if not self._await_event("frozen", 1, time.monotonic() + timeout):
            self._directory.write("cgroup.freeze", "0")
            raise Unavailable(f"the processes of cgroup {self.path!r} did not stop within {timeout:g} seconds")

    def thaw(self) -> None:
        """Let the processes go on."""
        self._directory.write("cgroup.freeze", "0")

    def is_frozen(self) -> bool:
        """Whether it was asked to freeze."""
        return self._directory.read("cgroup.freeze") == "1"

    def _await_event(self, name: str, value: int, deadline: float) -> bool:
        """Wait until ``cgroup.events`` says so; the kernel announces its changes."""
        try:
            events = self._files.open(f"{self._directory.path}/{_EVENTS}", os.O_RDONLY)
        except OSError as error:
            raise NotFound(f"there is no cgroup {self.path!r}") from error
        with events:
            poll = select.poll()
            poll.register(events.fileno(), select.POLLPRI)
            while _table(events).get(name, value) != value:
                if not poll.poll(max(0, deadline - time.monotonic()) * 1000):
                    return False
        return True

    def kill_all(self, timeout: float = 10.0) -> None:
        """Kill every process, in one step where the kernel offers it (Linux 5.14)."""
        deadline = time.monotonic() + timeout
        try:
            if not self._directory.table(_EVENTS).get("populated"):
                return
            if not self._directory.has("cgroup.kill"):
                removal.kill(self._stopped, self.thaw, deadline, self.path)
                return
            self._directory.write("cgroup.kill", "1")
            gone = self._await_event("populated", 0, deadline)
        except NotFound:
            return
        if not gone:
            hint = "it hangs in the kernel; /proc/<pid>/stack of the processes in its cgroup.procs says where"
            raise Unavailable(f"a process of cgroup {self.path!r} does not end", hint=hint)

    def _stopped(self) -> list[int]:
        self._directory.write("cgroup.freeze", "1")
        return self.pids()

    # ---------------------------------------------------------------------------------------------------- what it used

    def statistics(self) -> Statistics:
        """Read all counters."""
        if not self.exists():
            raise NotFound(f"there is no cgroup {self.path!r}")
        return v2_statistics.read(self._directory)

    def oom_count(self) -> int:
        """Return how many processes were killed for lack of memory."""
        return self._directory.table("memory.events").get("oom_kill", 0)

    def oom_events(self) -> Watch:
        """Watch ``memory.events``."""
        try:
            events = self._files.open(f"{self._directory.path}/memory.events", os.O_RDONLY)
        except OSError as error:
            cause = f"the controller 'memory' of cgroup version 2 is not available to {self.path!r}"
            raise Unsupported("cannot watch for lack of memory", cause=cause) from error

        def acknowledge() -> None:
            _table(events)  # reading it arms it again

        acknowledge()
        return Watch(events, select.EPOLLPRI, acknowledge)

    # ------------------------------------------------------------------------------------------------------------- end

    def destroy(self, timeout: float = 5.0) -> None:
        """Remove the directory."""
        removal.remove(self._directory, time.monotonic() + timeout)

    def destroy_if_empty(self) -> bool:
        """Remove the directory if it is empty."""
        return removal.try_remove(self._directory)


def _table(file: Fd) -> dict[str, int]:
    """Read lines ``name number`` from the start of an open file, which also acknowledges its event."""
    try:
        text = os.pread(file.fileno(), 4096, 0).decode()
    except OSError as error:
        if error.errno == errno.ENODEV:
            return {}  # the cgroup is gone, and nothing is in it
        raise SystemCallError("pread", "an events file", error.errno or errno.EIO) from error
    return {name: int(value) for name, _, value in (line.partition(" ") for line in text.splitlines())}
