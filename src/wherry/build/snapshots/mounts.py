"""Snapshots as detached mounts: descriptors that are in no mount namespace, and gone when the last one is closed.

Whoever works in one opens what he needs relative to the descriptor (`openat2` with ``RESOLVE.IN_ROOT``): then the
kernel copies up, makes whiteouts, and lets no link lead out.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from wherry.build.model.snapshot import Snapshot
from wherry.build.snapshots.draft import Draft
from wherry.content.durable import remove_tree
from wherry.errors import SystemCallError, Unsupported
from wherry.linux.fd import AT_FDCWD, Fd
from wherry.linux.mount import (
    AT,
    MOUNT_ATTR,
    MS,
    OPEN_TREE,
    fsconfig_create,
    fsconfig_flag,
    fsconfig_string,
    fsmount,
    fsopen,
    has_overlay_lowerdir_append,
    mount,
    mount_setattr,
    open_tree,
)
from wherry.linux.process import CLONE, unshare

__all__ = ["mount_draft", "mount_snapshot"]

# As the engine mounts containers' roots (`engine/spec/mounts.py`): no attribute says that a file is elsewhere.
_OPTIONS: Final = (("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off"))
# What is in a snapshot is only read and written here, never run; and no device of it is ever opened.
_ATTRIBUTES: Final = MOUNT_ATTR.NODEV | MOUNT_ATTR.NOSUID | MOUNT_ATTR.NOEXEC | MOUNT_ATTR.NOATIME
_FLAGS: Final = MS.NODEV | MS.NOSUID | MS.NOEXEC | MS.NOATIME
# One page holds all options of mount(2), with the byte that ends them.
_LONGEST_OPTIONS: Final = 4095


def mount_snapshot(snapshot: Snapshot, bottom: str) -> Fd:
    """Mount a snapshot, to be read.

    :param bottom: the directory that stands for no layer.
    :return: a descriptor of its root (``O_PATH``).
    :raises SystemCallError: the kernel refuses.
    """
    lower = snapshot.lower
    if not lower:
        return _bind(bottom, MOUNT_ATTR.RDONLY)
    if len(lower) == 1:
        lower = (*lower, bottom)  # an overlay without a writable directory has two layers at least
    return _overlay(lower, None, _ATTRIBUTES | MOUNT_ATTR.RDONLY)


def mount_draft(draft: Draft) -> Fd:
    """Mount a draft, to be written.

    With nothing below, that is the writable directory itself: an overlay would make new directories opaque.

    :return: a descriptor of its root (``O_PATH``).
    :raises SystemCallError: the kernel refuses.
    """
    if not draft.parent.layers:
        return _bind(str(draft.upper))
    # Left by an earlier mount of the same draft that did not sync; the kernel would refuse the next one.
    remove_tree(draft.work / "work" / "incompat")
    return _overlay(draft.parent.lower, (str(draft.upper), str(draft.work)), _ATTRIBUTES)


def _bind(directory: str, also: int = 0) -> Fd:
    tree = open_tree(AT_FDCWD, directory, OPEN_TREE.CLONE)
    try:
        mount_setattr(tree, "", AT.EMPTY_PATH, _ATTRIBUTES | also, MOUNT_ATTR.ATIME)
    except BaseException:
        tree.close()
        raise
    return tree


def _overlay(lower: Sequence[str], upper: tuple[str, str] | None, attributes: int) -> Fd:
    if not has_overlay_lowerdir_append():
        return _in_a_namespace(lambda: _by_mount(lower, upper))
    with fsopen("overlay") as context:
        fsconfig_string(context, "source", "overlay")
        for layer in lower:
            fsconfig_string(context, "lowerdir+", layer)
        if upper:
            # These two are still unescaped by the kernel, unlike lowerdir+.
            fsconfig_string(context, "upperdir", upper[0].replace("\\", "\\\\"))
            fsconfig_string(context, "workdir", upper[1].replace("\\", "\\\\"))
            # Else the end of the mount would write the whole file system to the disk, and wait for that.
            fsconfig_flag(context, "volatile")
        for key, value in _OPTIONS:
            fsconfig_string(context, key, value)
        fsconfig_create(context)
        return fsmount(context, attributes)


# --- kernels before Linux 6.7 -----------------------------------------------------------------------


def _in_a_namespace(make: Callable[[], Fd]) -> Fd:
    """Call a function in a thread with a mount namespace and a working directory of its own, which end with it."""
    made: list[Fd] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            unshare(CLONE.NEWNS)
            mount(None, "/", None, MS.REC | MS.PRIVATE)
            made.append(make())
        except BaseException as exc:
            failed.append(exc)

    thread = threading.Thread(target=run, name="mount")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return made[0]


def _by_mount(lower: Sequence[str], upper: tuple[str, str] | None) -> Fd:
    """Use mount(2): names relative to the directory that the layers share, so that a hundred fit into one page."""
    base = os.path.commonpath([os.path.dirname(layer) for layer in lower])
    parts = ["lowerdir=" + ":".join(_escaped(os.path.relpath(layer, base)) for layer in lower)]
    if upper:
        parts += [f"upperdir={_escaped(upper[0])}", f"workdir={_escaped(upper[1])}"]
    parts += [f"{key}={value}" for key, value in _OPTIONS]
    options = ",".join(parts)
    if len(os.fsencode(options)) > _LONGEST_OPTIONS:
        raise Unsupported(
            f"the image has too many layers for this kernel ({len(lower)})",
            hint="from Linux 6.7 on there is no such limit",
        )
    os.chdir(base)
    flags = _FLAGS if upper else _FLAGS | MS.RDONLY
    if upper:
        with suppress(SystemCallError):  # Linux 5.10
            return _mounted(base, flags, options + ",volatile")
    return _mounted(base, flags, options)


def _mounted(base: str, flags: int, options: str) -> Fd:
    """Mount over a directory, which nobody else sees, and open the root of that."""
    try:
        mount("overlay", base, "overlay", flags, options)
    except SystemCallError as error:
        if error.errno == errno.ENODEV:
            raise Unsupported("this kernel has no overlayfs") from error
        raise
    return Fd(os.open(base, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))


def _escaped(path: str) -> str:
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")
