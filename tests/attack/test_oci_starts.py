"""Whoever is in a PID namespace cannot start what waits in it between ``create`` and ``start``."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.children import in_child
from support.needs import need
from support.oci_command import Bundles, bundles_in
from wherry.linux._libc import ARCHITECTURE
from wherry.linux.fd import Fd
from wherry.linux.process import CLONE, pidfd_open, setns
from wherry.runtime.steps.birth import START

pytestmark = need("root", "busybox")


@pytest.fixture
def oci(tmp_path: Path) -> Iterator[Bundles]:
    with bundles_in(tmp_path) as bundles:
        yield bundles


def test_who_is_in_the_container_cannot_start_it(oci: Bundles) -> None:
    oci.bundle("one", "sh", "-c", "echo started; sleep 100")
    oci.create("one")
    oci("exec", "one", "sh", "-c", "kill -33 1; kill -CONT 1; kill -USR1 1; kill -34 1; kill -TERM 1")
    assert (oci.state("one")["status"], oci.output("one")) == ("created", "")


def test_who_is_in_a_pid_namespace_that_is_joined_cannot_start_what_waits_there(oci: Bundles) -> None:
    oci.bundle("first", "sleep", "1000")
    first = oci.create("first", start=True)
    namespaces = [
        *({"type": kind} for kind in ("mount", "ipc", "uts")),
        {"type": "pid", "path": f"/proc/{first}/ns/pid"},
    ]
    oci.bundle("one", "sleep", "1000", whole={"linux": {"namespaces": namespaces}})
    status = Path(f"/proc/{oci.create('one')}/status").read_text()
    number = int(status.partition("NSpid:")[2].splitlines()[0].split()[-1])
    oci.do("exec", "first", "sh", "-c", f"kill -33 {number}; kill -CONT {number}; kill -33 -1; true")
    with pidfd_open(first) as container:
        assert in_child(lambda: forge(container, number)) == 0
    assert oci.state("one")["status"] == "created"
    oci.do("start", "one")
    oci.becomes("one", "running")


def test_who_is_in_the_container_cannot_say_that_it_was_somebody_outside(oci: Bundles) -> None:
    oci.bundle("one", "sh", "-c", "echo started; sleep 100")
    with pidfd_open(oci.create("one")) as container:
        assert in_child(lambda: forge(container)) == 0
    assert (oci.state("one")["status"], oci.output("one")) == ("created", "")
    oci.do("start", "one")
    oci.becomes("one", "running")


def forge(container: Fd, target: int = 1) -> int:
    """In a child: from within a container's PID namespace, send the signal by which a container is started.

    What is said of its sender is that it has no number; see rt_sigqueueinfo(2).

    :param target: the process that waits, by its number there.
    """
    setns(container, CLONE.NEWPID)
    information = struct.pack("=iiiiiI", START, 0, -1, 0, 0, 0).ljust(128, b"\0")  # SI_QUEUE
    number = {"x86_64": 129, "aarch64": 138}[ARCHITECTURE]
    return in_child(lambda: ctypes.CDLL(None).syscall(number, target, START, information))
