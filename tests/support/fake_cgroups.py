"""A cgroup file system in memory that writes down what is done to it, for tests that run as any user.

It has the kernel's files (a test on a real machine compares the names), its inheritance and its refusals as far as the
backends depend on them. Processes in it are
real ones: being put into a group changes nothing for them, being killed does.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterable
from pathlib import Path

from wherry.linux.fd import Fd
from wherry.linux.files import memfd
from wherry.runtime.cgroups import Hierarchies

UNLIMITED = str((1 << 63) - 4096)
V1_CORE = {"cgroup.procs": "", "cgroup.clone_children": "0", "notify_on_release": "0", "tasks": ""}
V1_FILES = {
    "cpu": {
        "cpu.shares": "1024", "cpu.idle": "0", "cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "-1",
        "cpu.cfs_burst_us": "0", "cpu.stat": "nr_periods 0\nnr_throttled 0\nthrottled_time 0",
    },
    "cpuacct": {
        "cpuacct.usage_percpu": "0 0", "cpuacct.usage_all": "cpu user system\n0 0 0\n1 0 0",
    },
    "cpuset": {"cpuset.cpus": "", "cpuset.mems": ""},
    "memory": {
        "memory.limit_in_bytes": UNLIMITED, "memory.memsw.limit_in_bytes": UNLIMITED,
        "memory.soft_limit_in_bytes": UNLIMITED, "memory.swappiness": "60", "memory.usage_in_bytes": "0",
        "memory.max_usage_in_bytes": "0", "memory.memsw.usage_in_bytes": "0", "memory.failcnt": "0",
        "memory.stat": "cache 0\nrss 0", "cgroup.event_control": "",
        "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 0",
    },
    "devices": {"devices.list": "a *:* rwm", "devices.allow": "", "devices.deny": ""},
    "freezer": {"freezer.state": "THAWED"},
    "blkio": {
        "blkio.throttle.read_bps_device": "", "blkio.throttle.write_bps_device": "",
        "blkio.throttle.read_iops_device": "", "blkio.throttle.write_iops_device": "",
        "blkio.throttle.io_service_bytes_recursive": "Total 0", "blkio.throttle.io_serviced_recursive": "Total 0",
    },
    "pids": {"pids.max": "max", "pids.current": "0"},
}  # fmt: skip
V2_CORE = {
    "cgroup.procs": "", "cgroup.controllers": "", "cgroup.subtree_control": "", "cgroup.freeze": "0",
    "cgroup.events": "populated 0\nfrozen 0", "cgroup.kill": "", "cgroup.type": "domain",
    "cpu.stat": "usage_usec 0\nuser_usec 0\nsystem_usec 0",
}  # fmt: skip
V2_FILES = {
    "cpu": {"cpu.weight": "100", "cpu.max": "max 100000", "cpu.max.burst": "0", "cpu.idle": "0"},
    "cpuset": {"cpuset.cpus": "", "cpuset.mems": ""},
    "io": {"io.max": "", "io.stat": ""},
    "memory": {
        "memory.max": "max", "memory.low": "0", "memory.swap.max": "max", "memory.current": "0", "memory.peak": "0",
        "memory.swap.current": "0", "memory.stat": "anon 0\nfile 0",
        "memory.events": "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0",
    },
    "pids": {"pids.max": "max", "pids.current": "0"},
}  # fmt: skip


def lives(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


class FakeFiles:
    """See :class:`wherry.runtime.cgroups.directory.Files`.

    :ivar done: all that was changed, in order: ``("write", path, value)``, ``("make", path)``, ``("remove", path)``.
    """

    def __init__(self, version: int) -> None:
        self.version = version
        self.done: list[tuple[str, ...]] = []
        self._values: dict[str, str] = {}
        self._directories: set[str] = {"/cg"}
        self._inside: dict[int, set[str]] = {}
        if version == 1:
            for name, files in V1_FILES.items():
                self._top(f"/cg/{name}", V1_CORE | files)
            self._values |= {"/cg/cpuset/cpuset.cpus": "0-3", "/cg/cpuset/cpuset.mems": "0"}
        else:
            self._top("/cg/v2", {name: value for name, value in V2_CORE.items() if name not in ("cgroup.type",)})
            self._values["/cg/v2/cgroup.controllers"] = " ".join(V2_FILES)
        self.done.clear()

    def hierarchies(self) -> Hierarchies:
        """Where the fake is mounted."""
        if self.version == 1:
            return Hierarchies(1, {name: f"/cg/{name}" for name in V1_FILES}, None)
        return Hierarchies(2, {}, "/cg/v2")

    def _top(self, path: str, files: dict[str, str]) -> None:
        self._directories.add(path)
        self._values |= {f"{path}/{name}": value for name, value in files.items()}

    # ------------------------------------------------------------------------------------------------- the contract

    def make(self, path: str) -> None:
        """Make a directory with the kernel's files."""
        parent = path.rpartition("/")[0]
        if parent not in self._directories:
            raise FileNotFoundError(errno.ENOENT, "no parent", path)
        if path in self._directories:
            raise FileExistsError(errno.EEXIST, "there", path)
        self.done.append(("make", path))
        self._directories.add(path)
        self._values |= {f"{path}/{name}": value for name, value in self._new_files(path, parent).items()}

    def _new_files(self, path: str, parent: str) -> dict[str, str]:
        if self.version == 1:
            controller = path.split("/")[2]
            files = V1_CORE | V1_FILES[controller]
            if controller == "devices":
                files["devices.list"] = self._values[f"{parent}/devices.list"]
            if self._values[f"{parent}/cgroup.clone_children"] == "1":
                files |= {
                    name: self._values[f"{parent}/{name}"] for name in V1_FILES["cpuset"] if controller == "cpuset"
                }
                files["cgroup.clone_children"] = "1"
            return files
        given = self._values[f"{parent}/cgroup.subtree_control"].split()
        files = dict(V2_CORE) | {"cgroup.controllers": " ".join(given)}
        for controller in given:
            files |= V2_FILES[controller]
        return files

    def remove(self, path: str) -> None:
        """Remove a directory without processes and children."""
        if path not in self._directories:
            raise FileNotFoundError(errno.ENOENT, "gone", path)
        if self._members(path) or self.children(path):
            raise OSError(errno.EBUSY, "busy", path)
        self.done.append(("remove", path))
        self._directories.remove(path)
        self._values = {name: value for name, value in self._values.items() if name.rpartition("/")[0] != path}

    def exists(self, path: str) -> bool:
        """Whether there is a file or directory."""
        return path in self._directories or path in self._values

    def children(self, path: str) -> list[str]:
        """Return the names of the directories in a directory."""
        if path not in self._directories:
            raise FileNotFoundError(errno.ENOENT, "gone", path)
        return [name.rpartition("/")[2] for name in self._directories if name.rpartition("/")[0] == path]

    def read(self, path: str) -> str:
        """Return a file's content, as it is now."""
        directory, _, name = path.rpartition("/")
        if path not in self._values:
            raise FileNotFoundError(errno.ENOENT, "gone", path)
        if name == "cgroup.procs":
            return "".join(f"{pid}\n" for pid in sorted(self._members(directory)))
        if name == "cgroup.events":
            return f"populated {int(self._populated(directory))}\nfrozen {self._values[f'{directory}/cgroup.freeze']}\n"
        if name == "pids.current" and path.startswith("/cg/"):
            return str(len(self._members(directory)))
        return self._values[path] + "\n"

    def write(self, path: str, values: Iterable[str]) -> None:
        """Do what the kernel does for each value."""
        if path not in self._values:
            raise FileNotFoundError(errno.ENOENT, "gone", path)
        for value in values:
            self._check(path, value)
            self.done.append(("write", path, value))
            self._store(path, value)

    def open(self, path: str, flags: int) -> Fd:
        """Open a copy of a file, or for a directory something else that is a directory."""
        if path in self._directories:
            return Fd(os.open("/", flags))
        return memfd("fake", self.read(path).encode())

    # --------------------------------------------------------------------------------------------------- the kernel

    def _members(self, directory: str) -> set[int]:
        return {pid for pid, where in self._inside.items() if directory in where and lives(pid)}

    def _populated(self, directory: str) -> bool:
        return any(self._members(one) for one in self._tree(directory))

    def _tree(self, directory: str) -> list[str]:
        return [one for one in self._directories if one == directory or one.startswith(directory + "/")]

    def _check(self, path: str, value: str) -> None:
        """Refuse what the kernel refuses."""
        directory, _, name = path.rpartition("/")
        subtree = self._values.get(f"{directory}/cgroup.subtree_control")
        if name in ("cpuset.cpus", "cpuset.mems") and any(int(part) > 3 for part in value.replace(",", "-").split("-")):
            raise OSError(errno.ERANGE, "no such processor", path)
        if name in ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"):
            limits = {other: self._values[f"{directory}/memory.{other}limit_in_bytes"] for other in ("", "memsw.")}
            limits["memsw." if "memsw" in name else ""] = value
            alone, together = (int(UNLIMITED if limit == "-1" else limit) for limit in limits.values())
            if alone > together:
                raise OSError(errno.EINVAL, "more than memory and swap together", path)
        if name == "cgroup.subtree_control":
            missing = {part[1:] for part in value.split()} - set(
                self._values[f"{directory}/cgroup.controllers"].split()
            )
            if missing:
                raise OSError(errno.ENOENT, "no such controller", path)
        if name == "cgroup.procs" and subtree:
            raise OSError(errno.EBUSY, "no processes beside controllers", path)
        if (
            name == "cgroup.procs"
            and "cpuset" in path
            and self.version == 1
            and not self._values[f"{directory}/cpuset.cpus"]
        ):
            raise OSError(errno.ENOSPC, "an empty cpuset", path)

    def _store(self, path: str, value: str) -> None:
        directory, _, name = path.rpartition("/")
        match name:
            case "cgroup.procs":
                top = "/".join(path.split("/")[:3])
                where = self._inside.setdefault(int(value), set())
                self._inside[int(value)] = {one for one in where if not one.startswith(top)} | {directory}
            case "cgroup.subtree_control":
                names = {part[1:] for part in value.split()} | set(self._values[path].split())
                self._values[path] = " ".join(sorted(names))
            case "cgroup.kill":
                for below in self._tree(directory):
                    for pid in self._members(below):
                        os.kill(pid, signal.SIGKILL)
                        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            case "devices.allow" | "devices.deny":
                self._list(f"{directory}/devices.list", value, allow=name == "devices.allow")
            case "memory.limit_in_bytes" | "memory.memsw.limit_in_bytes" | "memory.soft_limit_in_bytes":
                self._values[path] = UNLIMITED if value == "-1" else value
            case "cgroup.event_control":
                pass
            case _:
                self._values[path] = value

    def _list(self, path: str, value: str, *, allow: bool) -> None:
        """Keep a list whose default is to deny; the letters of one device are in the kernel's order."""
        if value == "a":
            self._values[path] = "a *:* rwm" if allow else ""
            return
        entries = dict(line.rsplit(" ", 1) for line in self._values[path].splitlines())
        device, _, access = value.rpartition(" ")
        letters = set(entries.get(device, "")) | set(access) if allow else set(entries.get(device, "")) - set(access)
        entries[device] = "".join(sorted(letters, key="rwm".index))
        self._values[path] = "\n".join(f"{name} {letters}" for name, letters in entries.items() if letters)
