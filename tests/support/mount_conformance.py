"""Steps, and the mounts that they make: the same lists for the fake and for the kernel.

A case is given a directory with an `image` (with ``etc``, ``proc`` and ``seed/file``), and beside it ``rootfs``, where
the root is mounted, ``data`` with a file, and ``file``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from support.fake_mounts import Seen
from wherry.linux.mount import MOUNT_ATTR, MS
from wherry.runtime.steps.masks import MaskPaths, ReadOnlyPaths
from wherry.runtime.steps.mounts import Bind, FileSystem, OwnDirectory, ReadOnlyMount
from wherry.runtime.steps.overlay import Overlay
from wherry.runtime.steps.rootfs import BindRoot, ReadOnlyRoot
from wherry.runtime.steps.step import Context, Step

CLOSED = int(MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV | MOUNT_ATTR.NOEXEC)
RDONLY = int(MOUNT_ATTR.RDONLY)
NOATIME, ATIME = int(MOUNT_ATTR.NOATIME), int(MOUNT_ATTR.ATIME)
PROC = FileSystem("proc", "proc", "/proc", (), CLOSED, (), False)


class Case(NamedTuple):
    """Steps for a directory, and what is mounted after them."""

    name: str
    steps: Callable[[Path], Iterable[Step]]
    mounts: tuple[Seen, ...]


def lay_out(base: Path) -> None:
    """Make what the cases need."""
    for name in ("image/etc", "image/proc", "image/seed", "rootfs", "data", "upper", "work"):
        (base / name).mkdir(parents=True)
    for name in ("image/seed/file", "data/file", "file"):
        (base / name).write_text("here\n")


def carry_out(steps: Iterable[Step]) -> None:
    """Apply steps one after the other, as the child does."""
    context = Context(-1)
    for index, step in enumerate(steps):
        context.index = index
        step.apply(context)


def bound(base: Path) -> BindRoot:
    return BindRoot(f"{base}/image", f"{base}/rootfs", 0)


def bind(source: str, destination: str, *, set: int = 0, clear: int = 0, propagation: tuple[int, ...] = ()) -> Bind:
    return Bind(source, destination, True, set, clear, 0, 0, propagation, None, False)


def tmpfs(destination: str, attributes: int = 0, *options: tuple[str, str], copy_up: bool = False) -> FileSystem:
    return FileSystem("tmpfs", "tmpfs", destination, options, attributes, (), copy_up)


ROOT = Seen("/", "host")

CASES = (
    Case(
        "the root is a directory of the host, with its attributes",
        lambda base: [BindRoot(f"{base}/image", f"{base}/rootfs", int(MOUNT_ATTR.NOSUID))],
        (Seen("/", "host", "nosuid"),),
    ),
    Case(
        "the root is an overlay, and read-only in the end",
        lambda base: [
            Overlay("/", f"{base}/rootfs", (f"{base}/image",), f"{base}/upper", f"{base}/work", (), CLOSED & ~8),
            ReadOnlyRoot(),
        ],
        (Seen("/", "overlay", "ro,nosuid,nodev"),),
    ),
    Case(
        "a tmpfs in one call, and its place is made",
        lambda base: [bound(base), tmpfs("/run/lock", CLOSED, ("size", "1m"))],
        (ROOT, Seen("/run/lock", "tmpfs", "nosuid,nodev,noexec")),
    ),
    Case(
        "a tmpfs that begins with the image's files",
        lambda base: [bound(base), tmpfs("/seed", 0, ("size", "1m"), copy_up=True)],
        (ROOT, Seen("/seed", "tmpfs")),
    ),
    Case(
        "a tmpfs is made read-only when others have their places in it",
        lambda base: [bound(base), tmpfs("/t"), tmpfs("/t/inside"), ReadOnlyMount("/t")],
        (ROOT, Seen("/t", "tmpfs", "ro"), Seen("/t/inside", "tmpfs")),
    ),
    Case(
        "a directory is bound, read-only, and a file on a place that is made",
        lambda base: [
            bound(base),
            bind(f"{base}/data", "/data", set=RDONLY),
            bind(f"{base}/file", "/new/file", set=NOATIME, clear=ATIME),
        ],
        (ROOT, Seen("/data", "host", "ro"), Seen("/new/file", "host", "noatime")),
    ),
    Case(
        "a bind is shared, another unbindable",
        lambda base: [
            bound(base),
            bind(f"{base}/data", "/a", propagation=(int(MS.SHARED | MS.REC),)),
            bind(f"{base}/data", "/b", propagation=(int(MS.UNBINDABLE),)),
        ],
        (ROOT, Seen("/a", "host", "", "shared"), Seen("/b", "host", "", "unbindable")),
    ),
    Case(
        "a volume's place stays writable when the root does not",
        lambda base: [bound(base), OwnDirectory("/seed"), ReadOnlyRoot()],
        (Seen("/", "host", "ro"), Seen("/seed", "host")),
    ),
    Case(
        "parts of proc are masked, and others read-only",
        lambda base: [
            bound(base),
            PROC,
            MaskPaths((("/proc/version", True), ("/proc/timer_list_that_is_missing", True), ("/proc/fs", True))),
            ReadOnlyPaths((("/proc/sys", True),)),
        ],
        (
            ROOT,
            Seen("/proc", "proc", "nosuid,nodev,noexec"),
            Seen("/proc/fs", "tmpfs", "ro,nosuid,nodev,noexec"),
            Seen("/proc/sys", "proc", "ro,nosuid,nodev,noexec"),
            Seen("/proc/version", "host", "ro,nosuid,noexec"),
        ),
    ),
)
