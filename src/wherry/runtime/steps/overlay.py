"""Mount the overlay of a container's layers: as its root, or on a path in it."""

from __future__ import annotations

import os
import stat
from typing import Final, NamedTuple

from wherry.errors import InvalidInput
from wherry.linux.fd import AT_FDCWD, Fd
from wherry.linux.files import RESOLVE, openat2_if_there
from wherry.linux.mount import (
    AT,
    MNT_DETACH,
    MOUNT_ATTR,
    MOVE_MOUNT,
    OPEN_TREE,
    fsconfig_create,
    fsconfig_flag,
    fsconfig_string,
    fsmount,
    fsopen,
    has_overlay_lowerdir_append,
    mount,
    move_mount,
    open_tree,
    umount2,
)
from wherry.runtime.steps import path_in_root
from wherry.runtime.steps.step import Context

__all__ = ["Overlay", "attach_root", "mount_overlay", "mount_root"]

#: mount(2) takes less than one page of options; the kernel cuts what is longer.
_LONGEST_OPTIONS: Final = 4095
#: These have the same numbers for mount(2) and fsmount(2).
_SAME_FLAGS: Final = int(MOUNT_ATTR.RDONLY | MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV | MOUNT_ATTR.NOEXEC)
_IN_ROOT: Final = int(RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS)
_COPY: Final = int(OPEN_TREE.CLONE | AT.EMPTY_PATH)
_ONTO: Final = int(MOVE_MOUNT.F_EMPTY_PATH | MOVE_MOUNT.T_EMPTY_PATH)


class Overlay(NamedTuple):
    """Mount layers and a writable directory as one tree: the root, or a part of it.

    :param destination: where in the container; ``/`` for the root itself.
    :param path: where the root is; an existing directory on the host.
    :param lower: the read-only layers, uppermost first.
    :param upper: the writable layer, or an empty string for none.
    :param work: an empty directory on the same file system as ``upper``.
    :param options: further options of overlayfs as ``(name, value or None)``.
    :param attributes: of :class:`MOUNT_ATTR`.
    :param mapped: in a user namespace: whether the layers' owners are translated by its map.
    :param selector: a path in the tree, which alone is mounted; the kernel resolves it there, and never out of it.
    """

    destination: str
    path: str
    lower: tuple[str, ...]
    upper: str
    work: str
    options: tuple[tuple[str, str | None], ...]
    attributes: int
    mapped: bool = False
    selector: str = ""

    def describe(self) -> str:
        part = f"{self.selector} of " if self.selector else ""
        return f"mount {part}an overlay of {len(self.lower)} layers on {self.destination}"

    def apply(self, context: Context) -> None:
        prepared = context.prepared.pop(context.index, None)
        if self.selector:
            self._attach_part(context.root)
        elif self.destination != "/":
            with path_in_root.directory(context.root, self.destination).fd as target:
                # On an old kernel by name: the descriptor's, under the host's /proc.
                tree = prepared or mount_overlay(self, f"/proc/self/fd/{target.fileno()}", attached=False)
                if tree is not None:
                    move_mount(tree, "", target, "", _ONTO)
        elif prepared is not None:
            attach_root(context, prepared, self.path)
        else:
            context.root = mount_root(self, self.path)

    def _attach_part(self, root: Fd) -> None:
        """Mount the tree over the root for a moment: what a copy is made of must be in this namespace (before 6.15).

        :raises InvalidInput: there is no such path in the tree.
        """
        with mount_root(self, self.path) as tree:
            try:
                place = openat2_if_there(tree, self.selector, os.O_PATH, _IN_ROOT)
                if place is None:
                    raise InvalidInput(f'"{self.selector}": not found')
                with place:
                    part = open_tree(place, "", _COPY)
            finally:
                umount2(self.path, MNT_DETACH)
        is_directory = stat.S_ISDIR(os.fstat(part.fileno()).st_mode)
        find = path_in_root.directory if is_directory else path_in_root.file
        with find(root, self.destination).fd as target:
            move_mount(part, "", target, "", _ONTO)


def attach_root(context: Context, tree: Fd, path: str) -> None:
    """Attach a prepared root by the descriptor of its place, which this process may not reach by name any more."""
    if context.place is None:
        move_mount(tree, "", AT_FDCWD, path, MOVE_MOUNT.F_EMPTY_PATH)
    else:
        with context.place as place:
            move_mount(tree, "", place, "", _ONTO)
    context.root = tree


def mount_root(overlay: Overlay, path: str) -> Fd:
    """Mount an overlay on a path of the host and return its root."""
    tree = mount_overlay(overlay, path, attached=True)
    return tree or Fd(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))


def mount_overlay(overlay: Overlay, path: str, *, attached: bool) -> Fd | None:
    """Make an overlay.

    :param path: where to attach it.
    :param attached: False to leave that to the caller, if the kernel can do so.
    :returns: the mount; None if the old way was gone, and it is attached in any case.
    """
    if not has_overlay_lowerdir_append():
        _by_mount(overlay, path)
        return None
    fd = _by_descriptor(overlay)
    if attached:
        move_mount(fd, "", AT_FDCWD, path, MOVE_MOUNT.F_EMPTY_PATH)
    return fd


def _by_descriptor(overlay: Overlay) -> Fd:
    """Name the layers one by one: any number of them, of any length."""
    with fsopen("overlay") as context:
        fsconfig_string(context, "source", "overlay")
        for layer in overlay.lower:
            fsconfig_string(context, "lowerdir+", layer)
        if overlay.upper:
            # These two are still unescaped by the kernel, unlike lowerdir+.
            fsconfig_string(context, "upperdir", overlay.upper.replace("\\", "\\\\"))
            fsconfig_string(context, "workdir", overlay.work.replace("\\", "\\\\"))
        for key, value in overlay.options:
            if value is None:
                fsconfig_flag(context, key)
            else:
                fsconfig_string(context, key, value)
        fsconfig_create(context)
        return fsmount(context, overlay.attributes)


def _by_mount(overlay: Overlay, path: str) -> None:
    """Use mount(2), before Linux 6.7: all options within one page.

    The layers' names are made relative to the directory they share, which is this process's working directory
    meanwhile: a hundred short names fit, where a hundred long ones do not.
    """
    base = _common_directory(overlay.lower)
    options = _option_string(overlay, base)
    if len(os.fsencode(options)) > _LONGEST_OPTIONS:
        raise InvalidInput(
            f"the image has too many layers for this kernel ({len(overlay.lower)})",
            hint="from Linux 6.7 on there is no such limit",
        )
    os.chdir(base)
    mount("overlay", path, "overlay", overlay.attributes & _SAME_FLAGS, options)
    os.chdir("/")


def _common_directory(layers: tuple[str, ...]) -> str:
    parents = [os.path.dirname(layer) for layer in layers]
    return os.path.commonpath(parents)


def _option_string(overlay: Overlay, base: str) -> str:
    relative = [os.path.relpath(layer, base) for layer in overlay.lower]
    parts = ["lowerdir=" + ":".join(_escaped(layer) for layer in relative)]
    if overlay.upper:
        parts += [f"upperdir={_escaped(overlay.upper)}", f"workdir={_escaped(overlay.work)}"]
    parts += [key if value is None else f"{key}={value}" for key, value in overlay.options]
    return ",".join(parts)


def _escaped(path: str) -> str:
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")
