"""A program in a container makes processes that are the keeper's children, not its own.

Until such a process is reaped by the keeper, its container's first process cannot end (pid_namespaces(7)), and so
cannot be killed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.actors import started
from support.daemons import Daemon
from support.needs import need

pytestmark = [need("root", "busybox", "overlay", "namespaces")]

INTERPRETER = (f"{sys.base_prefix}/bin/python3", "-I", "-S", "-c")
RUN = ("-v", f"{sys.base_prefix}:{sys.base_prefix}:ro", "--network=none")

#: clone(2) with CLONE_PARENT; the number is that of x86-64 or of all newer architectures.
SIBLINGS = r"""
import ctypes, os, time
clone = 56 if os.uname().machine == "x86_64" else 220
for _ in range(20):
    pid = ctypes.CDLL(None, use_errno=True).syscall(clone, 0x8000 | 17, 0, 0, 0, 0)
    if pid == 0:
        time.sleep(LIFE)
        os._exit(0)
    assert pid > 0, ctypes.get_errno()
print("born", flush=True)
time.sleep(STAYS)
"""

#: Stops whatever comes into its PID namespace, before that has executed its program if it can.
STOPPER = r"""
import os, signal
print("stopping", flush=True)
while True:
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                os.kill(int(name), signal.SIGSTOP)
            except ProcessLookupError:
                pass
"""


def siblings(life: int, stays: int) -> str:
    return SIBLINGS.replace("LIFE", str(life)).replace("STAYS", str(stays))


def zombies_of(daemon: Daemon) -> int:
    count = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text(errors="replace").rpartition(")")[2].split()[:2]
        except OSError:
            continue
        count += state == "Z" and int(parent) == daemon.keeper_pid
    return count


@contextmanager
def births_held_up(daemon: Daemon) -> Iterator[None]:
    """An exec that does not get to its program, or not beyond its first instruction, in another container."""
    started(daemon, "stopper", *RUN, "host", *INTERPRETER, STOPPER, says="stopping")
    command = ["docker", "-H", daemon.host, "exec", "stopper", "true"]
    clients = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(5)]
    try:
        yield
    finally:
        daemon.docker("rm", "-f", "stopper", check=True)
        for client in clients:
            client.wait(60)


@pytest.mark.parametrize("held", [False, True], ids=["alone", "beside a held birth"])
def test_a_container_with_siblings_of_its_program_can_be_killed(
    own_daemon: Daemon, busybox_archive: bytes, held: bool
) -> None:
    started(own_daemon, "target", *RUN, "host", "sleep", "1000")
    own_daemon.docker("exec", "target", *INTERPRETER, siblings(1000, 0), check=True)
    if held:
        with births_held_up(own_daemon):
            own_daemon.docker("kill", "target", check=True)
    else:
        own_daemon.docker("kill", "target", check=True)
    assert own_daemon.docker("wait", "target", check=True).stdout == "137\n"


def test_zombies_do_not_gather_while_the_program_that_makes_them_lives(
    own_daemon: Daemon, busybox_archive: bytes
) -> None:
    started(own_daemon, "target", *RUN, "host", "sleep", "1000")
    with own_daemon.following("exec", "target", *INTERPRETER, siblings(0, 1000)) as lines:
        assert "born\n" in lines
        for _ in range(200):
            if zombies_of(own_daemon) == 0:
                break
            os.sched_yield()
            own_daemon.docker("exec", "target", "true", check=True)
        else:
            pytest.fail("there is one whenever they are counted")
        own_daemon.docker("rm", "-f", "target", check=True)


#: Traces what comes into its PID namespace, and lets nothing end (ptrace(2), PTRACE_O_TRACEEXIT).
TRACER = r"""
import ctypes, os
ptrace = ctypes.CDLL(None).ptrace
traced = set()
while True:
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid() and name not in traced:
            if ptrace(0x4206, int(name), None, ctypes.c_void_p(0x40)) == 0:
                traced.add(name)
                print("traced", flush=True)
"""


def test_a_container_cannot_keep_itself_by_tracing_its_first_process(
    own_daemon: Daemon, busybox_archive: bytes
) -> None:
    """The kernel ends the others of a PID namespace only when its first process has ended."""
    for ending in (("rm", "-f"), ("kill",), ("stop", "-t", "0")):
        started(own_daemon, "target", *RUN, "host", "sh", "-c", f"{INTERPRETER[0]} -I -S -c '{TRACER}' & sleep 1000")
        with own_daemon.following("logs", "-f", "target") as lines:
            assert "traced\n" in lines
        own_daemon.docker(*ending, "target", check=True)
        own_daemon.docker("rm", "-f", "target", check=True)


def test_who_cannot_be_ended_because_a_neighbour_traces_it_is_told_and_not_waited_for(
    own_daemon: Daemon, busybox_archive: bytes
) -> None:
    """In dockerd's words, and after about as long."""
    tracer = ("--cap-add=SYS_PTRACE", *RUN, "host", *INTERPRETER, TRACER)
    own_daemon.docker("run", "-d", "--name=tracer", *tracer, check=True)
    started(own_daemon, "victim", "--pid=container:tracer", "--network=none", "host", "sleep", "1000")
    with own_daemon.following("logs", "-f", "tracer") as lines:
        assert "traced\n" in lines
    said = own_daemon.docker("rm", "-f", "victim")
    assert (said.returncode, "did not receive an exit event" in said.stderr) == (1, True)
    own_daemon.docker("rm", "-f", "tracer", check=True)
    assert own_daemon.docker("wait", "victim", check=True).stdout == "137\n"
    own_daemon.docker("rm", "victim", check=True)
