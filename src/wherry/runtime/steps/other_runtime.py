"""A container of another OCI runtime: what is written for it, and the program that runs it.

The runtime needs the container's root where it can be seen, and knows no names of users; so this process mounts the
root, in a mount namespace of its own, resolves the user there, and writes the bundle. Then it becomes a shell, which
runs ``create`` and, when the parent has taken note of the container's process, ``start``.
"""

from __future__ import annotations

import json
import os
from typing import Any, Final, NamedTuple

from wherry.linux.fd import Fd
from wherry.runtime.steps.step import Context

__all__ = ["RootOfProcess", "RunRuntime", "WriteForRuntime"]

_SHELL: Final = "/bin/sh"
_UMASK: Final = 0o022
#: What it says on the channel is read by `wherry.runtime.launch.other_runtime`. The channel is nobody else's.
_SCRIPT: Final = """\
"$@" 3>&-; code=$?
printf '{"done":"%s","code":%d}' first $code >&3
[ $code = 0 ] && [ -n "$START" ] || exit $code
read -r go <&3 || exit 1
eval "$START" 3>&-; code=$?
printf '{"done":"%s","code":%d}' start $code >&3
"""


class RootOfProcess(NamedTuple):
    """Look names up in the root of a running container."""

    pid: int

    def describe(self) -> str:
        return f"look into the root of process {self.pid}"

    def apply(self, context: Context) -> None:
        context.root = Fd(os.open(f"/proc/{self.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))


class WriteForRuntime(NamedTuple):
    """Write a specification, or a process of one, with the user that was resolved.

    :param path: of the file, in a directory that only root can enter.
    :param document: JSON.
    :param key: where the process is in it; empty if it is one itself.
    """

    path: str
    document: bytes
    key: str

    def describe(self) -> str:
        return f"write {self.path}"

    def apply(self, context: Context) -> None:
        document: dict[str, Any] = json.loads(self.document)
        process = document[self.key] if self.key else document
        identity = context.identity
        found = {"uid": identity.uid, "gid": identity.gid, "additionalGids": list(identity.groups)}
        process["user"] = {**process.get("user", {}), **found}
        process["env"] = context.environment
        for mount in document.get("mounts", ()):
            _simplify(mount)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        with open(os.open(self.path, flags, 0o600), "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(json.dumps(document))


def _simplify(mount: dict[str, Any]) -> None:
    """Make what has nothing below it read-only in the plain way: crun 1.8 cannot do it recursively to a file."""
    options: list[str] = mount.get("options") or []
    if "rro" in options and not os.path.isdir(mount.get("source", "")):
        mount["options"] = ["ro" if option == "rro" else option for option in options]


class RunRuntime(NamedTuple):
    """Become the shell that runs the runtime.

    :param command: the first command, ``create`` or ``exec``, with its arguments.
    :param start: the second one; empty for none.
    :param environment: ``NAME=value``.
    """

    command: tuple[str, ...]
    start: tuple[str, ...]
    environment: tuple[str, ...]

    def describe(self) -> str:
        return f"run {' '.join(self.command)}"

    def apply(self, context: Context) -> None:
        context.let_go()
        os.chdir("/")
        os.umask(_UMASK)
        environment = dict(entry.split("=", 1) for entry in self.environment)
        environment["START"] = " ".join(map(_quoted, self.start))
        os.set_inheritable(context.channel, True)
        os.execve(_SHELL, [_SHELL, "-c", _SCRIPT, _SHELL, *self.command], environment)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
