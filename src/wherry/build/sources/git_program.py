"""The git program, kept from everything that is not asked of it.

No configuration of the machine's or of a user's, no hooks, no helpers, no questions at a terminal, no transport but
those that are named. What it says is bounded; when its caller is cancelled, all of its processes are killed.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from wherry.errors import NotFound, SystemFault, TooLarge, Unauthenticated, Unsupported, WherryError
from wherry.legible import line
from wherry.linux.files import memfd

__all__ = ["GitProgram"]

_PATIENCE: Final = 3600.0  # seconds for one command
_OUTPUT: Final = 64 << 20  # bytes; a list of a repository's references
_COMPLAINT: Final = 16 << 10  # bytes of what it says about an error
_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")
_CONFIGURATION: Final = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.symlinks": "true",
    "core.askPass": "",
    "credential.helper": "",
    "safe.directory": "*",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "fetch.recurseSubmodules": "false",
    "submodule.recurse": "false",
    "advice.detachedHead": "false",
    "init.defaultBranch": "master",
    "http.lowSpeedLimit": "100",
    "http.lowSpeedTime": "120",
}
_SSH: Final = (
    "ssh -F /dev/null -o BatchMode=yes -o IdentityFile=/dev/null -o GlobalKnownHostsFile=/dev/null "
    "-o ProxyCommand=none -o PermitLocalCommand=no"
)


class GitProgram:
    """Runs git for one repository.

    :param transports: what may be spoken: ``http``, ``https``, ``ssh``, ``git``, ``file``.
    :param configuration: further settings, such as headers with credentials; they are in no argument.
    :param agent: a socket to an SSH agent; empty: none.
    :param known_hosts: a file of hosts' keys; empty: every host is believed, as in BuildKit.
    """

    def __init__(
        self,
        transports: Sequence[str],
        *,
        configuration: Sequence[tuple[str, str]] = (),
        agent: str = "",
        known_hosts: str = "",
    ) -> None:
        self._transports = transports
        # Git goes on to send credentials of one host to another one that the first redirects to.
        safe = [("http.followRedirects", "false")] if configuration else []
        self._configuration = [*_CONFIGURATION.items(), *safe, *configuration]
        self._agent = agent
        self._known_hosts = known_hosts

    async def run(
        self, *arguments: str, directory: str = "/", more: Mapping[str, str] | None = None, files: bool | None = None
    ) -> bytes:
        """Run one command to its end; returns its output.

        :param directory: where.
        :param more: environment variables.
        :param files: whether repositories of this machine may be spoken to; None: as `transports` says.
        :raises Unsupported: there is no git here.
        :raises WherryError: it failed, with what it said.
        """
        program = shutil.which("git")
        if program is None:
            raise Unsupported("git repositories need the program git, which this machine lacks", hint="install git")
        # In memory, and inherited by git's children: these drop what is in the environment or in arguments.
        with memfd("gitconfig", _written(self._configuration)) as configuration:
            process = await asyncio.create_subprocess_exec(
                program,
                *arguments,
                cwd=directory,
                env={**self._environment(configuration.fileno(), files), **(more or {})},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                pass_fds=[configuration.fileno()],
                start_new_session=True,
                umask=0o022,
            )
        try:
            async with asyncio.timeout(_PATIENCE):
                output, complaint = await asyncio.gather(self._output(process), self._complaint(process))
                code = await process.wait()
        except BaseException as exc:
            await _kill(process)
            if isinstance(exc, TimeoutError):
                raise SystemFault(f"git {arguments[0]}: it takes more than {_PATIENCE:g} s") from None
            raise
        if code:
            raise _failed(arguments, complaint)
        return output

    def _environment(self, configuration: int, files: bool | None) -> dict[str, str]:
        transports = [one for one in self._transports if one != "file"]
        if files or (files is None and "file" in self._transports):
            transports.append("file")
        hosts = f"-o UserKnownHostsFile={self._known_hosts or os.devnull}"
        strict = "-o StrictHostKeyChecking=" + ("yes" if self._known_hosts else "no")
        found = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LC_ALL": "C",
            "HOME": "/nonexistent",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": f"/proc/self/fd/{configuration}",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "true",
            "GIT_ALLOW_PROTOCOL": ":".join(transports) or "none",
            "GIT_SSH_COMMAND": f"{_SSH} {hosts} {strict}",
        }
        for name in _PROXIES:
            found.update({one: os.environ[one] for one in (name, name.lower()) if one in os.environ})
        return found | ({"SSH_AUTH_SOCK": self._agent} if self._agent else {})

    async def _output(self, process: asyncio.subprocess.Process) -> bytes:
        assert process.stdout is not None
        found = bytearray()
        while piece := await process.stdout.read(1 << 16):
            found += piece
            if len(found) > _OUTPUT:
                raise TooLarge(f"git says more than {_OUTPUT} bytes")
        return bytes(found)

    async def _complaint(self, process: asyncio.subprocess.Process) -> bytes:
        """The end of what it says on standard error."""
        assert process.stderr is not None
        found = b""
        while piece := await process.stderr.read(1 << 14):
            found = (found + piece)[-_COMPLAINT:]
        return found


def _written(settings: Sequence[tuple[str, str]]) -> bytes:
    """Settings in the form of git-config(1), "Syntax"."""
    lines = []
    for key, value in settings:
        section, _, rest = key.partition(".")
        subsection, _, name = rest.rpartition(".")
        lines.append(f"[{section} {_quoted(subsection)}]" if subsection else f"[{section}]")
        lines.append(f"\t{name} = {_quoted(value)}")
    return ("\n".join(lines) + "\n").encode()


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


async def _kill(process: asyncio.subprocess.Process) -> None:
    """Kill a command with its children, at least one of which still runs: so the group's number is nobody else's."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.returncode is None:
        await asyncio.shield(process.wait())


def _failed(arguments: Sequence[str], complaint: bytes) -> WherryError:
    words = [line(one.strip()) for one in complaint.decode(errors="replace").splitlines() if one.strip()]
    said = "; ".join(words[-4:])[-1000:]
    kind: type[WherryError] = SystemFault
    if "could not read Username" in said or "Authentication failed" in said or "Permission denied" in said:
        kind = Unauthenticated
    elif "not found" in said or "does not exist" in said or "does not appear to be a git repository" in said:
        kind = NotFound
    return kind(f"git {arguments[0]} failed", cause=said or "it does not say why")
