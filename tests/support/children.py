"""What a test of system calls and cgroups needs from the machine, and the children it runs things in."""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

T = TypeVar("T")


def need(present: bool, what: str) -> None:
    """Skip a test whose need is not met, or fail it where everything must work (CI)."""
    if present:
        return
    if os.environ.get("WHERRY_MUST_WORK") == "1":
        pytest.fail(f"needs {what}; this is user {os.geteuid()} on Linux {os.uname().release}")
    pytest.skip(f"needs {what}")


def need_root() -> None:
    """The test mounts, or makes namespaces or cgroups."""
    need(os.geteuid() == 0, "root")


def need_cgroup2() -> Path:
    """Return where cgroup version 2 is mounted."""
    need_root()
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if " - cgroup2 " in line:
            return Path(line.split()[4])
    need(False, "cgroup version 2, mounted")
    raise AssertionError


def in_child(function: Callable[[], T], *, fork: Callable[[], int] = os.fork) -> T:
    """Run a function in a child, where it may ruin the process; return its value, or raise what it raised.

    :param fork: makes the child; returns as ``os.fork``.
    """
    reader, writer = os.pipe()
    pid = fork()
    if pid == 0:
        _report(writer, function)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        data = pipe.read()
    _, status = os.waitpid(pid, 0)
    if not data:
        raise AssertionError(f"the child ended without a word, status {status}")
    ok, value = pickle.loads(data)
    if not ok:
        raise AssertionError(value)
    result: T = value
    return result


def _report(writer: int, function: Callable[[], object]) -> None:
    """Be the child: run, report, leave."""
    try:
        data = pickle.dumps((True, function()))
    except BaseException:  # it must not get back into pytest
        data = pickle.dumps((False, traceback.format_exc()))
    os.write(writer, data)
    os._exit(0)
