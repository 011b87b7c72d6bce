"""What a container has done to its own mounts meets ``wherry-oci exec``: runc's CVEs of fake /proc and /dev/pts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.needs import need
from support.oci_command import Bundles, bundles_in

pytestmark = need("root", "busybox")

MAY_MOUNT = ["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_MKNOD"]
CORE_PATTERN = Path("/proc/sys/kernel/core_pattern")
#: What runtimes have written to below /proc, as files of the container's (CVE-2019-16884, CVE-2025-52881).
FAKE_PROC = """
mount -t tmpfs fake /proc
for who in self thread-self 1; do
    mkdir -p /proc/$who/attr/apparmor /proc/$who/fd
    for name in attr/exec attr/apparmor/exec attr/current oom_score_adj setgroups uid_map sched loginuid; do
        echo original >/proc/$who/$name
    done
done
mkdir -p /proc/sys/kernel /proc/sys/net
"""


@pytest.fixture
def oci(tmp_path: Path) -> Iterator[Bundles]:
    with bundles_in(tmp_path) as bundles:
        yield bundles


@pytest.fixture
def hostile(oci: Bundles) -> Bundles:
    """A container ``one`` that may mount."""
    oci.bundle("one", "sleep", "1000", capabilities=dict.fromkeys(("bounding", "effective", "permitted"), MAY_MOUNT))
    oci.create("one", start=True)
    return oci


def test_an_exec_writes_nothing_to_what_only_looks_like_proc(hostile: Bundles) -> None:
    hostile.do("exec", "one", "sh", "-ec", FAKE_PROC)
    assert hostile.do("exec", "--user", "1000:1000", "--no-new-privs", "one", "echo", "inside") == "inside\n"
    for flag in ("--apparmor", "--process-label"):
        hostile("exec", flag, "label", "one", "true")  # an error where the kernel has none
    kept = hostile.do(
        "exec", "one", "sh", "-c", "cat /proc/*/attr/* /proc/*/attr/apparmor/* /proc/*/[a-z]* 2>/dev/null; true"
    )
    assert set(kept.split()) == {"original"}


@pytest.mark.parametrize(
    "script",
    [
        "mount -t tmpfs fake /dev/pts; mkfifo /dev/pts/ptmx; rm -f /dev/ptmx; ln -s pts/ptmx /dev/ptmx",
        "mount -t tmpfs fake /dev/pts; ln -s /proc/sys/kernel/core_pattern /dev/pts/ptmx",
        "umount /dev/pts; rmdir /dev/pts; ln -s /proc/sys/kernel /dev/pts",
    ],
)
def test_a_terminal_is_of_no_other_file_than_devpts(hostile: Bundles, script: str) -> None:
    """CVE-2025-52565 by an exec: a FIFO holds nobody up, and nothing is written to what a link names."""
    before = CORE_PATTERN.read_text()
    hostile.do("exec", "one", "sh", "-c", script)
    with hostile.console() as console:
        done = hostile("exec", "--tty", "--detach", "--console-socket", console.path, "one", "true")
    assert done.returncode == 255
    assert "needs a devpts file system" in done.stderr, done
    assert CORE_PATTERN.read_text() == before


def test_dev_ptmx_of_the_container_plays_no_part(oci: Bundles) -> None:
    oci.bundle("one", "sleep", "1000")
    oci.create("one", start=True)
    oci.do("exec", "one", "sh", "-c", "rm -f /dev/ptmx; mkfifo /dev/ptmx")
    with oci.console() as console:
        oci.do("exec", "--tty", "--detach", "--console-socket", console.path, "one", "tty")
        console.sees(b"/dev/pts/0")


@pytest.mark.parametrize("place", ["/bin/link", "/proc/self/root/../../..", "/proc/1/root/proc/1/cwd/../.."])
def test_a_working_directory_of_an_exec_stays_in_the_root(oci: Bundles, place: str) -> None:
    """CVE-2024-21626's kind: whatever leads there, `..` of it ends at the container's root."""
    bundle = oci.bundle("one", "sleep", "1000")
    (bundle / "rootfs/bin/link").symlink_to("../../../../../..")
    oci.create("one", start=True)
    done = oci(
        "exec", "--cwd", place, "one", "sh", "-c", "cd ../../../..; ls -d bin rootfs config.json 2>/dev/null; true"
    )
    assert done.stdout in ("bin\n", ""), done
