"""What the options ``type``, ``device`` and ``o`` of a volume mean: a detached mount, as mount(8) would make it."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence

from wherry.errors import InvalidInput, SystemFault, WherryError
from wherry.linux.fd import AT_FDCWD, Fd
from wherry.linux.mount import AT, MOUNT_ATTR, OPEN_TREE, mount_setattr, open_tree
from wherry.runtime.compile.mount_options import MountOptions, parse
from wherry.runtime.steps.mounts import new_file_system
from wherry.volumes.network_options import resolved, without_password, words_of

__all__ = ["make_tree"]


def make_tree(options: Mapping[str, str]) -> Fd:
    """Make a detached mount. In a thread: a server, or a disk, may take its time.

    :raises SystemFault: it cannot be made; in Docker's words, and without the password.
    """
    kind, device = options.get("type", ""), options.get("device", "")
    words = words_of(kind, options.get("o", ""))
    try:
        if not device:
            raise InvalidInput("missing device in volume options")
        return _made(kind, *resolved(kind, device, words))
    except (WherryError, OSError, ValueError) as exc:
        reason = without_password(str(exc), words)
        what = f"failed to mount local volume: mount {device}, type {kind}"
        raise SystemFault(what, cause=reason) from None  # the first error may have the password


def _made(kind: str, device: str, words: Sequence[str]) -> Fd:
    parsed = parse(tuple(words))
    if parsed.bind:
        return _bound(device, parsed)
    attributes = parsed.set | parsed.set_below
    given = (*((flag, None) for flag in parsed.superblock), *parsed.data)
    if attributes & MOUNT_ATTR.RDONLY:
        given = (("ro", None), *given)  # of the file system, too: it may be somebody else's
    return new_file_system(kind, device, given, attributes)


def _bound(device: str, parsed: MountOptions) -> Fd:
    tree = open_tree(AT_FDCWD, device, int(OPEN_TREE.CLONE) | (int(AT.RECURSIVE) if parsed.recursive else 0))
    if not stat.S_ISDIR(os.fstat(tree.fileno()).st_mode):
        raise InvalidInput(f"{device} is not a directory")
    if parsed.set or parsed.clear:
        mount_setattr(tree, "", int(AT.EMPTY_PATH), attr_set=parsed.set, attr_clr=parsed.clear)
    return tree
