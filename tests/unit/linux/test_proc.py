"""/proc/<pid>/stat is read by number of field, whatever the program's name contains."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from wherry.linux.proc import read_stat, start_time
from wherry.linux.process import set_name


def test_the_fields_of_this_process() -> None:
    stat = read_stat(os.getpid())
    assert stat is not None
    assert (stat.state, stat.parent) == ("R", os.getppid())
    with open("/proc/self/stat", encoding="utf-8") as file:
        fields = file.read().rpartition(")")[2].split()
    assert (stat.flags & ~0x1000, stat.start_time) == (int(fields[6]) & ~0x1000, int(fields[19]))


def test_a_name_with_a_parenthesis_and_blanks_shifts_nothing() -> None:
    child = os.fork()
    if child == 0:
        set_name(") R 1 (")
        signal.pause()
        os._exit(0)
    try:
        stat = read_stat(child)
        assert stat is not None
        assert stat.parent == os.getpid()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_zombie_has_a_start_time_and_a_status_until_it_is_reaped() -> None:
    with subprocess.Popen([sys.executable, "-S", "-c", "raise SystemExit(7)"]) as child:
        started = start_time(child.pid)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        stat = read_stat(child.pid)
        assert stat is not None
        assert (stat.state, stat.start_time, stat.exit_status) == ("Z", started, 7 << 8)
    assert read_stat(child.pid) is None
    assert start_time(child.pid) is None
