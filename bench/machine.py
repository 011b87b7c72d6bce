"""What the kernel says about memory, processes and disk."""

from __future__ import annotations

import os
import struct
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from wherry.linux.process import CLONE, unshare

_PRESENT, _FRAME = 1 << 63, (1 << 55) - 1
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def own_network() -> None:
    """Go into a network namespace that has a loopback interface and no more, with all that is started from now on.

    A dockerd that is told to have no bridge removes ``docker0``, whoever's it is.
    """
    unshare(CLONE.NEWNET)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def available_memory() -> int:
    """MemAvailable in bytes, with the caches dropped first."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3\n")
    time.sleep(0.5)  # the kernel frees in the background; there is no event to wait for
    return meminfo("MemAvailable")


def meminfo(field: str) -> int:
    """One field of /proc/meminfo, in bytes."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise LookupError(field)


def resident(processes: Iterable[int]) -> int:
    """The resident memory of some processes, in bytes; pages that they share count for each."""
    page = os.sysconf("SC_PAGE_SIZE")
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page for pid in processes)


def memory_of(processes: Iterable[int]) -> int:
    """The memory that some processes have together, in bytes: a page that several have counts once.

    By the frames in their page tables (proc_pid_pagemap(5)), so the interpreter's and libraries' pages that wherryd and
    its keeper both use are not there twice.
    """
    page, entry = os.sysconf("SC_PAGE_SIZE"), struct.Struct("=Q")
    frames: set[int] = set()
    for pid in processes:
        areas = [line.split(maxsplit=1)[0].split("-") for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]
        with Path(f"/proc/{pid}/pagemap").open("rb", buffering=0) as table:
            for first, end in ((int(low, 16) // page, int(high, 16) // page) for low, high in areas):
                entries = os.pread(table.fileno(), (end - first) * entry.size, first * entry.size)
                frames.update(value & _FRAME for (value,) in entry.iter_unpack(entries) if value & _PRESENT)
    return len(frames) * page


def cpu_seconds(processes: Iterable[int]) -> float:
    """The processor time that some processes have used since they began."""
    total = 0
    for pid in processes:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(after_name[11]) + int(after_name[12])  # utime and stime: proc(5), fields 14 and 15
    return total / TICKS_PER_SECOND


def disk_used(directory: Path) -> int:
    """The bytes that a directory takes on its own file system, as ``du`` counts."""
    os.sync()
    done = subprocess.run(["du", "-sx", "--block-size=1", str(directory)], capture_output=True, text=True, check=False)
    return int(done.stdout.split()[0])


def processes_naming(text: str) -> list[int]:
    """The processes whose command line contains ``text``, other than this one."""
    found = []
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit() and int(directory.name) != os.getpid():
            try:
                command = (directory / "cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended while we looked
            if text.encode() in command:
                found.append(int(directory.name))
    return sorted(found)


def mounts_under(directory: Path) -> list[str]:
    """What is mounted below a directory, deepest first."""
    targets = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return sorted((target for target in targets if target.startswith(f"{directory}/")), key=len, reverse=True)
