"""Containers of a build that its client drives: they look at results, or run what the client wants beside its steps."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from wherry.build.model.failure import Attend, Console, Leftover
from wherry.build.model.graph import BuildMount, Edge, HostEntry, SecretEnv, SecurityMode
from wherry.build.model.network import NetworkMode
from wherry.oci.platform import Platform

__all__ = ["BuildContainer", "ContainerProcess", "ContainerRequest", "FileInfo"]


class FileInfo(Struct, frozen=True):
    """One file of a result. `mode` has the type's bits of stat(2); times are in nanoseconds."""

    path: str
    mode: int
    uid: int = 0
    gid: int = 0
    size: int = 0
    modified: int = 0
    link: str = ""


class ContainerRequest(Struct, frozen=True, kw_only=True):
    """A container.

    :param mounts: one of them is the root; what is written to one that is not read-only ends with the container.
    :param inputs: what they show, by the numbers that they have there.
    """

    mounts: tuple[BuildMount, ...]
    inputs: tuple[Edge | Leftover | None, ...] = ()
    network: NetworkMode = NetworkMode.DEFAULT
    hostname: str = ""
    extra_hosts: tuple[HostEntry, ...] = ()
    platform: Platform | None = None


class ContainerProcess(Struct, frozen=True, kw_only=True):
    """A process in a container.

    :param env: ``NAME=value``.
    :param security: of the first process, and so of the container; others have its.
    """

    args: tuple[str, ...]
    env: tuple[str, ...] = ()
    cwd: str = "/"
    user: str = ""
    secret_env: tuple[SecretEnv, ...] = ()
    security: SecurityMode = SecurityMode.SANDBOX
    console: Console = Console()


class BuildContainer(Protocol):
    """A container. It ends with its first process, with its build, or when it is released."""

    async def run(self, process: ContainerProcess, attend: Attend) -> int:
        """Run a process to its end; returns its exit code. Being cancelled ends it.

        :raises CommandNotFound: there is no such program.
        :raises Conflict: the first process has ended, or does not run yet.
        :raises Forbidden: the build may not do that.
        :raises WherryError: it cannot be run, or nobody attends to it any more.
        """
        ...

    async def read_file(self, mount: int, path: str, offset: int = 0, length: int = -1) -> bytes:
        """A file's content, in one of its mounts, by the number of that; also while something runs in it.

        :raises NotFound: there is no such file.
        :raises InvalidInput: the mount has no files that are on the disk.
        """
        ...

    async def stat_file(self, mount: int, path: str) -> FileInfo:
        """One file; see `read_file`."""
        ...

    async def read_directory(self, mount: int, path: str, pattern: str = "") -> list[FileInfo]:
        """The entries of a directory whose names fit a pattern of Go's ``filepath.Match``; see `read_file`."""
        ...

    async def release(self) -> None:
        """End it; returns when nothing of it is left. Safe to call twice."""
        ...
