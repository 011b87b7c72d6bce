"""Compile ``SCMP_ACT_NOTIFY``: a program outside decides about system calls, by the filter's *listener*.

The listener comes into being with the filter, in the process that has it. The trampoline hands it to the parent, who
sends it on (:mod:`wherry.runtime.launch.seccomp_listener`). Until then nobody answers a notification, so no call that
is needed up to there may cause one.
"""

from __future__ import annotations

from typing import Any, Final

from wherry.errors import InvalidInput, Unsupported
from wherry.linux.seccomp_verdict import allows
from wherry.oci.runtime_spec import VERSION, Seccomp, Spec
from wherry.runtime.channel import CHANNEL
from wherry.runtime.steps.birth import forbids_what_follows

__all__ = ["check", "listener", "used_by"]

_NOTIFY: Final = "SCMP_ACT_NOTIFY"
#: What ``struct sockaddr_un`` takes, with the zero at its end.
_LONGEST_PATH: Final = 107


def used_by(profile: Seccomp) -> bool:
    """Whether a profile has an action that notifies."""
    return any(rule.action == _NOTIFY for rule in profile.syscalls) or profile.default_action == _NOTIFY


def listener(
    spec: Spec, *, container_id: str, bundle: str, pid: int | None = None
) -> tuple[str, dict[str, Any]] | None:
    """Return the path of the listener's socket, and the container process state but for the process's number.

    :param bundle: its directory; empty if there is none, then the root's path stands for it.
    :param pid: of the container's first process, for an exec; None if the process will be that itself.
    :raises InvalidInput: there is no path, or none that a socket could have; or every call would notify.
    """
    profile = spec.linux.seccomp if spec.linux else None
    if profile is None:
        return None
    if profile.listener_metadata and not profile.listener_path:
        raise InvalidInput("listenerMetadata of the seccomp profile needs a listenerPath")
    if not used_by(profile):
        return None
    if profile.default_action == _NOTIFY:
        raise InvalidInput(f"{_NOTIFY} cannot be the default action: a container could not start")
    path = profile.listener_path
    if not path:
        raise InvalidInput(f"{_NOTIFY} in the seccomp profile needs a listenerPath")
    if not path.startswith("/") or "\0" in path or len(path.encode(errors="surrogateescape")) > _LONGEST_PATH:
        raise InvalidInput(f"listenerPath {path!r} must be absolute, and at most {_LONGEST_PATH} bytes long")
    state: dict[str, Any] = {"ociVersion": VERSION, "id": container_id}
    state |= {"status": "creating"} if pid is None else {"status": "running", "pid": pid}
    state["bundle"] = bundle or (spec.root.path if spec.root else "/")
    if spec.annotations:
        state["annotations"] = spec.annotations
    found: dict[str, Any] = {"ociVersion": VERSION, "fds": ["seccompFd"], "state": state}
    if profile.listener_metadata:
        found["metadata"] = profile.listener_metadata
    return path, found


def check(program: bytes, *, init: bool, inside: bool, late: bool) -> None:
    """Refuse a filter that would stop the start before its listener is where it belongs.

    :param inside: the process is born in a PID namespace of others: its number, which the listener's owner has to know,
        comes into being with it.
    :param late: the filter is loaded when the parent may not listen any more, because it forbids what comes before.
    :raises InvalidInput: it notifies of sendmsg, or forbids it.
    :raises Unsupported: it notifies of what is needed until the process has a number.
    """
    if not allows(program, "sendmsg", CHANNEL, 1, 0):
        raise InvalidInput(f"a seccomp profile with {_NOTIFY} must allow sendmsg, which hands its listener over")
    if late:
        raise Unsupported(f"a seccomp profile with {_NOTIFY} must allow setsid, prlimit64, ioctl, dup3 and close")
    if inside and (forbids_what_follows(program, init=init) or not (init or allows(program, "execve"))):
        text = "what is executed in a running container, or in the PID namespace of another,"
        hint = "clone, execve, prctl, setsid, prlimit64, ioctl, close and exit_group have to be allowed"
        raise Unsupported(f"{text} cannot start: the seccomp profile notifies of its birth, or forbids it", hint=hint)
