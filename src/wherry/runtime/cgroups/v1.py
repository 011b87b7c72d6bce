"""Version 1: one directory per hierarchy."""

from __future__ import annotations

import errno
import os
import select
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from typing import Final

from wherry.errors import InvalidInput, NotFound, SystemCallError, Unavailable, Unsupported, WherryError
from wherry.linux.fd import Fd
from wherry.runtime.cgroups import removal, v1_statistics
from wherry.runtime.cgroups.contract import Statistics, Watch
from wherry.runtime.cgroups.devices import DeviceList, line
from wherry.runtime.cgroups.directory import Directory, Files, Limit
from wherry.runtime.cgroups.resources import DeviceAccess, Resources
from wherry.runtime.cgroups.v1_limits import limits

__all__ = ["CgroupV1"]

_PROCS: Final = "cgroup.procs"


class CgroupV1:
    """A cgroup of version 1; see :class:`~wherry.runtime.cgroups.contract.Cgroup`.

    :param path: absolute, normalised, seen from the roots of the hierarchies.
    :param mounts: mount point of each controller.
    """

    version: Final = 1

    def __init__(self, path: str, mounts: dict[str, str], files: Files) -> None:
        self.path: Final = path
        self._mounts = mounts
        self._files = files
        # Controllers that are mounted together share a directory.
        self._directories = [Directory(files, top + path) for top in dict.fromkeys(mounts.values())]

    def _of(self, controller: str) -> Directory | None:
        """Return a controller's directory, or None if the controller is not mounted."""
        top = self._mounts.get(controller)
        return None if top is None else Directory(self._files, top + self.path)

    def paths(self) -> dict[str, str]:
        """Return the directory of each controller."""
        return {name: top + self.path for name, top in self._mounts.items()}

    def exists(self) -> bool:
        """Whether it exists in any hierarchy."""
        return any(directory.exists() for directory in self._directories)

    # ------------------------------------------------------------------------------------------------------- beginning

    def create(self, resources: Resources) -> None:
        """Make the directories and set the limits."""
        wanted = limits(resources)
        existed = False
        try:
            for top in dict.fromkeys(self._mounts.values()):
                existed |= not self._make(top, self.path)
            self._write(wanted)
            if resources.devices is not None:
                self._fill_devices(resources.devices)
        except WherryError:
            if not existed:
                self.destroy()
            raise

    def _make(self, top: str, path: str) -> bool:
        """Make a directory in one hierarchy, parents first if they are missing; whether it was not there before."""
        directory = Directory(self._files, top + path)
        try:
            made = directory.make()
        except FileNotFoundError:
            parent = path.rpartition("/")[0]
            if not parent:
                raise Unsupported(f"the cgroup file system at {top!r} is gone") from None
            self._make(top, parent)
            made = directory.make()
        if made and top == self._mounts.get("cpuset"):
            self._inherit_cpuset(top, path)
        return made

    def _inherit_cpuset(self, top: str, path: str) -> None:
        """Copy processors and memory nodes from the parent: a new cpuset has none, and no process can be put into it.

        A directory that others will be made in is told to hand its own on, which saves them the copying.
        """
        directory = Directory(self._files, top + path)
        if directory.read("cpuset.cpus"):
            return
        parent = Directory(self._files, top + path.rpartition("/")[0])
        for name in ("cpuset.cpus", "cpuset.mems"):
            directory.write(name, parent.read(name))
        if path != self.path:
            directory.write("cgroup.clone_children", "1")

    def apply(self, resources: Resources) -> None:
        """Set limits."""
        memory = self._of("memory")
        limit = resources.memory.limit
        if resources.memory.check_before_update and limit is not None and limit > 0 and memory is not None:
            used = memory.number("memory.usage_in_bytes") or 0
            if used > limit:
                raise InvalidInput(f"the memory limit {limit} is below what is in use, {used}")
        self._write(limits(resources))
        if resources.devices is not None:
            self._change_devices(resources.devices)

    def _write(self, wanted: Iterable[Limit]) -> None:
        """Write limits; one that is rejected gets a second chance after the others.

        Some depend on each other (memory on memory and swap together, quota on period), and whichever order is right
        for raising them is wrong for lowering them.
        """
        again: list[tuple[Directory, Limit]] = []
        for limit in wanted:
            directory = self._of(limit.controller)
            if directory is None:
                cause = f"the controller {limit.controller!r} of cgroup version 1 is not mounted"
                raise Unsupported(f"cannot set {limit.name}", cause=cause)
            if limit.optional and not directory.has(limit.name):
                continue
            try:
                directory.set(limit.name, limit.value)
            except (InvalidInput, SystemCallError):
                again.append((directory, limit))
        for directory, limit in again:
            directory.set(limit.name, limit.value)

    def add(self, pid: int) -> None:
        """Move a process into it, in every hierarchy."""
        text = str(pid)
        for directory in self._directories:
            directory.write(_PROCS, text)

    def enter(self) -> None:
        """Move the calling process into it, in every hierarchy; 0 stands for the caller."""
        for directory in self._directories:
            directory.write("tasks", "0")

    def open_dir_fd(self) -> Fd | None:
        """Return None: nothing can be cloned into version 1's directories."""
        return None

    # --------------------------------------------------------------------------------------------------------- devices

    def _fill_devices(self, entries: Iterable[DeviceAccess]) -> None:
        """Write the list of a new cgroup, which has its parent's."""
        directory = self._device_directory()
        wanted = _device_list(tuple(entries))
        opposite = "devices.deny" if wanted.allow_by_default else "devices.allow"
        directory.write("devices.allow" if wanted.allow_by_default else "devices.deny", "a")
        if wanted.exceptions:
            directory.write(opposite, *map(line, wanted.exceptions))

    def _change_devices(self, entries: Iterable[DeviceAccess]) -> None:
        """Change the list of a cgroup in use: what stays allowed is not denied for a moment."""
        directory = self._device_directory()
        wanted = DeviceList.of(entries)
        present = directory.read("devices.list").splitlines()
        if wanted.allow_by_default or "a *:* rwm" in present:
            self._fill_devices(entries)
            return
        target = set(map(line, wanted.exceptions))
        if added := sorted(target - set(present)):
            directory.write("devices.allow", *added)
        # An entry may differ in its letters only, so what is superfluous is looked for after adding.
        if surplus := [
            entry for present in directory.read("devices.list").splitlines() for entry in _surplus(present, target)
        ]:
            directory.write("devices.deny", *surplus)

    def _device_directory(self) -> Directory:
        directory = self._of("devices")
        if directory is None:
            raise Unsupported(
                "cannot restrict devices", cause="the controller 'devices' of cgroup version 1 is not mounted"
            )
        return directory

    # ------------------------------------------------------------------------------------------------------- processes

    def pids(self, *, recursive: bool = True) -> list[int]:
        """Return its processes."""
        return self._main().pids(recursive=recursive)

    def _main(self) -> Directory:
        """Return the directory whose list of processes counts; every hierarchy has the same."""
        for name in ("freezer", "pids", "memory"):
            if name in self._mounts:
                return Directory(self._files, self._mounts[name] + self.path)
        return self._directories[0]

    def freeze(self, timeout: float = 10.0) -> None:
        """Stop all processes.

        The kernel may stay at FREEZING when a process forks or is traced at the wrong moment; asking again helps.
        """
        directory = self._freezer()

        def frozen() -> bool:
            directory.write("freezer.state", "FROZEN")
            return directory.read("freezer.state") == "FROZEN"

        if not removal.wait_until(frozen, time.monotonic() + timeout):
            directory.write("freezer.state", "THAWED")
            raise Unavailable(f"the processes of cgroup {self.path!r} did not stop within {timeout:g} seconds")

    def thaw(self) -> None:
        """Let the processes go on."""
        self._freezer().write("freezer.state", "THAWED")

    def is_frozen(self) -> bool:
        """Whether it was asked to freeze."""
        return self._freezer().read("freezer.state") != "THAWED"

    def _freezer(self) -> Directory:
        directory = self._of("freezer")
        if directory is None:
            raise Unsupported("cannot pause", cause="the controller 'freezer' of cgroup version 1 is not mounted")
        return directory

    def kill_all(self, timeout: float = 10.0) -> None:
        """Kill every process. They are stopped first, so that none forks and no process ID is reused."""
        freezer = self._of("freezer")
        try:
            if not self.pids():
                return
        except NotFound:
            return

        def stopped() -> list[int]:
            if freezer is not None:
                freezer.write("freezer.state", "FROZEN")  # takes effect on the way; nobody waits for stragglers
            return self.pids()

        def release() -> None:
            # What a container has frozen within itself would stay so, and not die.
            for directory in [] if freezer is None else [*freezer.descendants(), freezer]:
                directory.write("freezer.state", "THAWED")

        with suppress(NotFound):  # somebody else is removing it: its processes have ended
            removal.kill(stopped, release, time.monotonic() + timeout, self.path)
            release()

    # ---------------------------------------------------------------------------------------------------- what it used

    def statistics(self) -> Statistics:
        """Read all counters."""
        if not self.exists():
            raise NotFound(f"there is no cgroup {self.path!r}")
        return v1_statistics.read(self._of)

    def oom_count(self) -> int:
        """Return how many processes were killed for lack of memory."""
        memory = self._of("memory")
        return 0 if memory is None else memory.table("memory.oom_control").get("oom_kill", 0)

    def oom_events(self) -> Watch:
        """Register an eventfd for ``memory.oom_control``."""
        memory = self._of("memory")
        if memory is None:
            raise Unsupported("cannot watch for lack of memory", cause="the controller 'memory' is not mounted")
        event = Fd(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))
        try:
            control = self._files.open(f"{memory.path}/memory.oom_control", os.O_RDONLY)
        except OSError as error:
            raise NotFound(f"there is no cgroup {memory.path!r}") from error
        with control:
            memory.write("cgroup.event_control", f"{event.fileno()} {control.fileno()}")
        return Watch(event, select.EPOLLIN, lambda: _drain(event))

    # ------------------------------------------------------------------------------------------------------------- end

    def destroy(self, timeout: float = 5.0) -> None:
        """Remove the directories."""
        deadline = time.monotonic() + timeout
        for directory in self._directories:
            removal.remove(directory, deadline)

    def destroy_if_empty(self) -> bool:
        """Remove the directories that are empty; all stay where processes are in it, so that these can be found."""
        if not removal.try_remove(self._main()):
            return False
        busy = [directory for directory in self._directories if not removal.try_remove(directory)]
        return not busy


_device_list: Final = lru_cache(maxsize=8)(DeviceList.of)  # most containers have the same


def _surplus(entry: str, target: set[str]) -> list[str]:
    """Return what must be denied for an entry of the kernel's list to become one of ``target``, or vanish."""
    if entry in target:
        return []
    device, _, access = entry.rpartition(" ")
    kept = next((one.rpartition(" ")[2] for one in target if one.rpartition(" ")[0] == device), "")
    rest = "".join(letter for letter in access if letter not in kept)
    return [f"{device} {rest}"] if rest else []


def _drain(event: Fd) -> None:
    try:
        os.read(event.fileno(), 8)
    except OSError as error:
        if error.errno != errno.EAGAIN:
            raise SystemCallError("read", "an eventfd", error.errno or errno.EIO) from error
