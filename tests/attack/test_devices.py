"""A container makes any device node and opens only those that SECURITY.md names, and those that it was given."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.daemons import Daemon
from support.needs import need

pytestmark = need("root", "busybox", "overlay", "namespaces")

NAMES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
#: mem, kmem, port, kmsg, tty0, tty1, ttyS0, console, ptmx's neighbour, input, fb, tun, fuse, kvm, loop-control,
#: vhost-net, hpet, cpu/msr, sound, dri, uinput, snapshot, and one that no kernel has.
CHARACTERS = [
    (1, 1), (1, 2), (1, 4), (1, 11), (4, 0), (4, 1), (4, 64), (5, 1), (5, 3), (13, 63), (29, 0), (10, 200), (10, 229),
    (10, 232), (10, 237), (10, 238), (10, 228), (202, 0), (116, 1), (226, 0), (10, 223), (10, 231), (1, 255),
]  # fmt: skip
BLOCKS = [(7, 0), (8, 0), (253, 0), (254, 0), (259, 0), (1, 0), (9, 0), (11, 0)]


def opened(daemon: Daemon, image: str, nodes: list[tuple[str, int, int]], *flags: str) -> dict[str, str]:
    """Make nodes inside and open them; what was said of each."""
    steps = [
        f"mknod /n{kind}{major}.{minor} {kind} {major} {minor} && echo {kind} {major}:{minor} "
        f'"$( (: </n{kind}{major}.{minor}) 2>&1 || true)" "$( (: >>/n{kind}{major}.{minor}) 2>&1 || true)"'
        for kind, major, minor in nodes
    ]
    done = daemon.cli("run", "--rm", "--network", "none", *flags, image, "sh", "-c", "; ".join(steps), check=True)
    said = (line.split(" ", 2) for line in done.stdout.splitlines())
    return {f"{kind} {number}": text for kind, number, text in said}


def test_what_every_container_has_is_opened(daemon: Daemon, busybox: str) -> None:
    found = opened(daemon, busybox, [("c", *number) for number in NAMES.values()])
    for name, (major, minor) in NAMES.items():
        refused = " can't open" in found[f"c {major}:{minor}"]
        assert not refused or name == "tty", found  # who has no terminal finds none there


@pytest.mark.parametrize(
    "flags",
    [
        [], ["-t"], ["--init"], ["--cap-add", "ALL"],
        ["--security-opt", "seccomp=unconfined"],
    ],
    ids=str,
)  # fmt: skip
def test_no_other_device_of_the_hosts_is_opened(daemon: Daemon, busybox: str, flags: list[str]) -> None:
    disk = os.stat(daemon.data_root).st_dev
    own = [("b", os.major(disk), os.minor(disk))] if os.major(disk) else []
    nodes = [*(("c", *one) for one in CHARACTERS), *(("b", *one) for one in BLOCKS)]
    nodes += [one for one in own if one not in nodes]
    found = opened(daemon, busybox, nodes, *flags)
    assert len(found) == len(nodes)
    for number, text in found.items():
        assert text.count("Operation not permitted") == 2, f"{number}: {text}"


def test_the_hosts_console_is_not_opened_by_an_exec_either(daemon: Daemon, busybox: str) -> None:
    daemon.cli("run", "-d", "--name", "devices", "--network", "none", busybox, "sleep", "1000", check=True)
    try:
        script = "mknod /c c 5 1; : </c"
        assert "Operation not permitted" in daemon.cli("exec", "devices", "sh", "-c", script).stderr
        assert "Operation not permitted" in daemon.cli("exec", "-t", "devices", "sh", "-c", ": >>/c").stdout
        daemon.cli("update", "--memory", "64m", "--memory-swap", "128m", "devices", check=True)
        assert "Operation not permitted" in daemon.cli("exec", "devices", "sh", "-c", ": </c").stderr
    finally:
        daemon.cli("rm", "-f", "devices")


def test_a_terminal_is_the_containers_own_console(daemon: Daemon, busybox: str) -> None:
    script = "echo hello >/dev/console; stat -c %t /dev/console; test -w /dev/ptmx && : <>/dev/ptmx && echo ptmx"
    done = daemon.cli("run", "--rm", "-t", "--network", "none", busybox, "sh", "-c", script, check=True)
    assert done.stdout.split() == ["hello", "88", "ptmx"], "88 is 136, a pts"


def test_a_pty_of_somebody_else_is_not_opened_by_its_number(daemon: Daemon, busybox: str) -> None:
    ours, theirs = os.openpty()
    try:
        number = os.minor(os.fstat(theirs).st_rdev)
        script = f"mknod /p c 136 {number}; (: </p); mknod /m c 5 2; (: <>/m)"
        done = daemon.cli("run", "--rm", "--network", "none", "--cap-add", "ALL", busybox, "sh", "-c", script)
        assert done.stderr.count("can't open") + done.stderr.count("can't create") == 2, done.stderr
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_device_that_was_given_opens_and_no_neighbour_does(daemon: Daemon, busybox: str) -> None:
    if not Path("/dev/kmsg").exists():
        pytest.skip("no /dev/kmsg here")
    found = opened(
        daemon, busybox, [("c", 5, 1), ("c", 1, 1)], "--device", "/dev/kmsg", "--device-cgroup-rule", "c 1:4 r"
    )
    assert all(text.count("Operation not permitted") == 2 for text in found.values()), found
    found = opened(daemon, busybox, [("c", 5, 1)], "--device-cgroup-rule", "c 5:1 rw")
    assert "Operation not permitted" not in found["c 5:1"], "who asks for it gets it"
