"""What the options ``type``, ``device`` and ``o`` of a volume mean: a detached mount, as mount(8) would make it."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from wherry.errors import InvalidInput, SystemFault, WherryError
from wherry.linux.fd import AT_FDCWD, Fd
from wherry.linux.mount import AT, MOUNT_ATTR, OPEN_TREE, mount_setattr, open_tree
from wherry.runtime.compile.mount_options import MountOptions, parse
from wherry.runtime.steps.mounts import new_file_system

__all__ = ["make_tree"]

_NETWORKED: Final = ("nfs", "nfs4", "cifs", "smb3")


def make_tree(options: Mapping[str, str]) -> Fd:
    """Make a detached mount. In a thread: a server, or a disk, may take its time.

    :raises SystemFault: it cannot be made; in Docker's words, and without the password.
    """
    kind, device, text = options.get("type", ""), options.get("device", ""), options.get("o", "")
    try:
        if not device:
            raise InvalidInput("missing device in volume options")
        return _made(kind, *_resolved(kind, device, text))
    except (WherryError, OSError, ValueError) as exc:
        reason = _without_password(str(exc), text)
        what = f"failed to mount local volume: mount {device}, type {kind}"
        raise SystemFault(what, cause=reason) from None  # the first error may have the password


def _made(kind: str, device: str, text: str) -> Fd:
    parsed = parse(tuple(text.split(",")) if text else ())
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


def _resolved(kind: str, device: str, text: str) -> tuple[str, str]:
    """Device and options with addresses in place of names: the kernel asks no name server."""
    if kind not in _NETWORKED:
        return device, text
    words = text.split(",") if text else []
    for at, word in enumerate(words):
        name, _, value = word.partition("=")
        if name == "addr" and value:
            words[at] = f"addr={_address(value)}"
            return device, ",".join(words)
    if kind in ("cifs", "smb3") and (host := urlsplit(device).hostname):
        return device.replace(host, _address(host), 1), text
    return device, text


def _address(host: str) -> str:
    try:
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as exc:
        raise SystemFault("error resolving passed in network volume address", cause=f"{host}: {exc.strerror}") from exc


def _without_password(message: str, text: str) -> str:
    for word in text.split(","):
        name, _, value = word.partition("=")
        if name in ("password", "pass") and value:
            message = message.replace(value, "********")
    return message
