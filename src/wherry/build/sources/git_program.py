"""The git program, kept from everything that is not asked of it.

No configuration of the machine's or of a user's, no hooks, no helpers, no questions at a terminal, no transport but
those that are named. What it says, writes and keeps in memory is bounded; when its caller is cancelled, all of its
processes are killed.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from wherry.build.sources.git_bounds import DiskBounds
from wherry.content.threads import in_thread
from wherry.errors import NotFound, OutOfSpace, SystemFault, TooLarge, Unauthenticated, Unsupported, WherryError
from wherry.legible import line
from wherry.linux.files import memfd

__all__ = ["GitProgram"]

_PATIENCE: Final = 3600.0  # seconds for one command
_OUTPUT: Final = 64 << 20  # bytes; a list of a repository's references
_COMPLAINT: Final = 16 << 10  # bytes of what it says about an error
_MEMORY: Final = 4 << 20  # KiB for each of its processes (RLIMIT_DATA): a large repository takes a tenth
# Limits, once set, are its children's as well. A limit that is lower already stays.
_LIMITED: Final = 'ulimit -d "$1"; ulimit -f "$2"; shift 2; exec "$@"'
_BLOCK: Final = 512  # bytes, of ``ulimit -f`` (POSIX)
_XFSZ: Final = f"died of signal {signal.SIGXFSZ.value}"
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
    "fetch.unpackLimit": "1",  # a pack is one file, and that is bounded
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
    :ivar bounds: of what it may write.
    """

    def __init__(
        self,
        transports: Sequence[str],
        *,
        configuration: Sequence[tuple[str, str]] = (),
        agent: str = "",
        known_hosts: str = "",
        bounds: DiskBounds | None = None,
    ) -> None:
        self.bounds: Final = bounds or DiskBounds()
        self._transports = transports
        self._configuration = [*_CONFIGURATION.items(), *configuration]
        self._agent = agent
        self._known_hosts = known_hosts

    async def run(
        self,
        *arguments: str,
        directory: str = "/",
        more: Mapping[str, str] | None = None,
        files: bool | None = None,
        take: Callable[[bytes], None] | None = None,
    ) -> bytes:
        """Run one command to its end; returns its output.

        :param directory: where.
        :param more: environment variables.
        :param files: whether repositories of this machine may be spoken to; None: as `transports` says.
        :param take: given the output piece by piece, in a thread, instead; what it raises ends the command.
        :raises Unsupported: there is no git here.
        :raises TooLarge: it says or writes more than it may.
        :raises WherryError: it failed, with what it said.
        """
        program = shutil.which("git")
        if program is None:
            raise Unsupported("git repositories need the program git, which this machine lacks", hint="install git")
        # In memory, and inherited by git's children: these drop what is in the environment or in arguments.
        with memfd("gitconfig", _written(self._configuration)) as configuration:
            process = await asyncio.create_subprocess_exec(
                "/bin/sh",
                *("-c", _LIMITED, "git", str(_MEMORY), str(self.bounds.limits.max_bytes // _BLOCK)),
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
        guard = asyncio.ensure_future(self.bounds.guard())
        work = asyncio.gather(self._output(process, take), self._complaint(process), process.wait())
        try:
            async with asyncio.timeout(_PATIENCE):
                await asyncio.wait((guard, work), return_when=asyncio.FIRST_COMPLETED)
            if guard.done():
                guard.result()
            output, complaint, code = work.result()
        except BaseException as exc:
            await _kill(process, work)
            if isinstance(exc, TimeoutError):
                raise SystemFault(f"git {arguments[0]}: it takes more than {_PATIENCE:g} s") from None
            raise
        finally:
            await _end(guard)
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

    async def _output(self, process: asyncio.subprocess.Process, take: Callable[[bytes], None] | None) -> bytes:
        assert process.stdout is not None
        found = bytearray()
        while piece := await process.stdout.read(1 << 16):
            if take is not None:
                await in_thread(take, piece)
                continue
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


async def _kill(process: asyncio.subprocess.Process, work: asyncio.Future[Any]) -> None:
    """Kill a command with its children, at least one of which still runs: so the group's number is nobody else's.

    :param work: reads what it says.
    """
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await asyncio.shield(_buried(process, work))


async def _buried(process: asyncio.subprocess.Process, work: asyncio.Future[Any]) -> None:
    await _end(work)
    for pipe in (process.stdout, process.stderr):  # closed at their ends only
        while pipe is not None and await pipe.read(1 << 16):
            pass
    await process.wait()


async def _end(task: asyncio.Future[Any]) -> None:
    """Cancel what still goes on, and wait for its end; how it ended is known already."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _failed(arguments: Sequence[str], complaint: bytes) -> WherryError:
    words = [line(one.strip()) for one in complaint.decode(errors="replace").splitlines() if one.strip()]
    said = "; ".join(words[-4:])[-1000:]
    kind: type[WherryError] = SystemFault
    hint = None
    if _XFSZ in said or "File too large" in said or "out of memory" in said.lower():
        return TooLarge("the git repository takes more than this machine gives it", cause=said)
    if "No space left on device" in said:
        kind = OutOfSpace
    elif "returned error: 30" in said:
        hint = "with credentials, redirects are not followed: use the address that the server redirects to"
    elif "could not read Username" in said or "Authentication failed" in said or "Permission denied" in said:
        kind = Unauthenticated
    elif "not found" in said or "does not exist" in said or "does not appear to be a git repository" in said:
        kind = NotFound
    return kind(f"git {arguments[0]} failed", cause=said or "it does not say why", hint=hint)
