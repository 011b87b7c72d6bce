"""Check sysctls: only those of the container's own namespaces may be set."""

from __future__ import annotations

from typing import Final

from wherry.errors import InvalidInput

__all__ = ["settings"]

_IPC: Final = frozenset(
    f"kernel/{name}" for name in ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced")
)


def settings(wanted: dict[str, str], own: frozenset[str]) -> tuple[tuple[str, str], ...]:
    """Check settings and return them as paths below /proc/sys with their values.

    :param wanted: as in sysctl(8): ``net.ipv4.ip_forward``, or with slashes and dots exchanged.
    :param own: the kinds of namespaces that are not the host's: ``ipc``, ``net``, ``uts`` ...
    :raises InvalidInput: a setting that is the whole machine's, or of a namespace that is the host's.
    """
    return tuple((_checked(name, own), value) for name, value in sorted(wanted.items()))


def _checked(name: str, own: frozenset[str]) -> str:
    path = _path(name)
    if not path or any(part in ("", ".", "..") for part in path.split("/")) or "\0" in path:
        raise InvalidInput(f"{name!r} is no sysctl")
    kind = _kind(name, path)
    if kind not in own:
        raise InvalidInput(f"sysctl {name!r} is not allowed", cause=f"the container shares the host's {kind} namespace")
    return path


def _kind(name: str, path: str) -> str:
    """Return the kind of namespace that a setting belongs to."""
    if path in _IPC or path.startswith("fs/mqueue/"):
        return "ipc"
    if path.startswith("net/"):
        return "net"
    if path == "kernel/domainname":
        return "uts"
    if path == "kernel/hostname":
        raise InvalidInput(f"sysctl {name!r} is not allowed", hint="the specification has the field hostname")
    raise InvalidInput(f"sysctl {name!r} is not in a separate kernel namespace")


def _path(name: str) -> str:
    """As sysctl(8): whichever separator comes first is the separator, and the other is part of names (eth0.100)."""
    first = min((name.find(mark) for mark in "./" if mark in name), default=-1)
    if first >= 0 and name[first] == ".":
        return name.translate(str.maketrans("./", "/."))
    return name
