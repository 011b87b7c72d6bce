"""What the fake of the mount calls is compared with: the same steps, and /proc/self/mountinfo."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.children import in_child
from support.fake_mounts import Seen
from support.mount_conformance import CASES, Case, carry_out, lay_out
from support.needs import need
from wherry.linux.mount import MS, mount
from wherry.linux.process import CLONE, unshare

pytestmark = need("root", "overlay", "namespaces")
SHOWN = ("ro", "nosuid", "nodev", "noexec", "noatime")


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_mounts_are_those_that_the_fake_makes(case: Case, tmp_path: Path) -> None:
    assert in_child(lambda: carried_out(case, tmp_path)) == sorted(case.mounts)


def carried_out(case: Case, base: Path) -> list[Seen]:
    """In a mount namespace of its own: what a case has mounted."""
    unshare(CLONE.NEWNS)
    mount(None, "/", None, MS.PRIVATE | MS.REC)
    mount("tmpfs", base, "tmpfs", 0, "mode=755")
    lay_out(base)
    before = {line.split()[2] for line in mountinfo()}
    carry_out(case.steps(base))
    root = f"{base}/rootfs"
    lines = [line for line in mountinfo() if line.split()[4] == root or line.split()[4].startswith(root + "/")]
    return sorted(seen(line, root, before) for line in lines)


def mountinfo() -> list[str]:
    return Path("/proc/self/mountinfo").read_text().splitlines()


def seen(line: str, root: str, before: set[str]) -> Seen:
    """One mount; what lies on a file system that was there before is the host's."""
    fields, _, last = line.partition(" - ")
    _, _, device, _, where, options, *tags = fields.split()
    words = options.split(",")
    attributes = ",".join(word for word in SHOWN if word in words)
    propagation = next((name for tag in tags for name in ("shared", "unbindable") if tag.startswith(name)), "private")
    kind = "host" if device in before else last.split()[0]
    return Seen(where.removeprefix(root) or "/", kind, attributes, propagation)
