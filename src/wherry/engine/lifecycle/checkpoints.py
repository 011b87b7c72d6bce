"""Checkpoints of containers: made here, in threads; the keeper restores them, by ``wherry-oci restore``.

One is ``<container's directory>/checkpoints/<name>/``, or ``<name>/`` in a directory that a client names. It is written
beside that, under a name that is no checkpoint's, and renamed when it is whole.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from wherry.content.durable import disk_errors
from wherry.content.threads import in_thread
from wherry.engine.container.state import Status
from wherry.engine.lifecycle.restoring import LOGS, write_addresses
from wherry.errors import Conflict, InvalidInput, NotFound, Unsupported
from wherry.linux.fd import Fd
from wherry.linux.files import syncfs
from wherry.linux.proc import start_time
from wherry.oci.runtime_spec import Namespace, Spec
from wherry.runtime.compile.manner import Manner
from wherry.runtime.compile.spec import compile_spec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherry.engine.container.container import Container
    from wherry.engine.container.events import ContainerEvents
    from wherry.engine.container.store import ContainerStore
    from wherry.engine.lifecycle.start import Starter
    from wherry.runtime.criu.dump import Target

__all__ = ["CheckpointFiles", "Checkpoints"]

_NAME: Final = re.compile("[a-zA-Z0-9][a-zA-Z0-9_.-]{1,127}", re.ASCII)  # with this, Docker's restricted names
_DRAFT: Final = "."  # begins the name of one that is not whole, and of one that is being removed
_AGAIN: Final = 0.1  # seconds until it is looked again whether what was executed in a container has ended
_PROBES: Final = 100  # such looks, for a container whose health is looked at by executing something


class CheckpointFiles:
    """The checkpoints in one directory.

    :param directory: absolute; it may be missing, and what it is in as well unless it is a container's.
    :param of: the container, for errors.
    """

    def __init__(self, directory: Path, of: str, *, is_containers: bool = False) -> None:
        self.directory: Final = directory
        self._of: Final = of
        self._is_containers: Final = is_containers

    @classmethod
    def of(cls, container: Container, directory: str) -> CheckpointFiles:
        """Those of a container, or those in another directory.

        :raises InvalidInput: that is no absolute path.
        """
        if directory and (not directory.startswith("/") or "\0" in directory):
            raise InvalidInput(f"the checkpoint directory {directory!r} must be an absolute path")
        if directory:
            return cls(Path(os.path.normpath(directory)), container.name)
        return cls(container.directory / "checkpoints", container.name, is_containers=True)

    def names(self) -> list[str]:
        """All that are whole."""
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(self.directory) as entries:
            found = [one.name for one in entries if one.is_dir(follow_symlinks=False)]
            return sorted(name for name in found if _NAME.fullmatch(name) and self._is_whole(name))
        return []

    def _is_whole(self, name: str) -> bool:
        return (self.directory / name / "inventory.img").is_file()

    def path(self, name: str) -> Path:
        """Where one is.

        :raises InvalidInput: that is no name.
        """
        if not _NAME.fullmatch(name):
            raise InvalidInput(f"invalid checkpoint ID ({name!r}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
        return self.directory / name

    def existing(self, name: str) -> Path:
        """Where one is that is whole.

        :raises NotFound: there is none.
        """
        path = self.path(name)
        if path.is_symlink() or not self._is_whole(name):
            raise NotFound(f"checkpoint {name} does not exist for container {self._of}")
        return path

    async def found(self, name: str) -> Path:
        """The same for the event loop: a directory that a client names may be on a file system that does not answer.

        :raises NotFound: there is none.
        """
        return await in_thread(self.existing, name)

    def check_new(self, name: str) -> None:
        """See that there can be one of a name.

        :raises Conflict: there is one.
        """
        if os.path.lexists(self.path(name)):
            raise Conflict(f"checkpoint with name {name} already exists for container {self._of}")

    def draft(self, name: str) -> Path:
        """Make room for a new one; what a daemon has left that was killed is removed.

        :raises Conflict: there is one.
        """
        self.check_new(name)
        draft = self.directory / f"{_DRAFT}{name}"
        if os.path.lexists(draft):
            shutil.rmtree(draft)
        # A container's own directory is not made again where the container is being removed.
        self.directory.mkdir(0o700, parents=not self._is_containers, exist_ok=True)
        draft.mkdir(0o700)
        return draft

    def publish(self, draft: Path, name: str) -> None:
        """A draft becomes a checkpoint, now that it is on the disk."""
        with Fd(os.open(draft, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as directory:
            syncfs(directory)
        os.rename(draft, self.path(name))  # from here on it is there

    def remove(self, name: str) -> None:
        """Remove one.

        :raises NotFound: there is none.
        """
        gone = self.directory / f"{_DRAFT}{name}"
        path = self.existing(name)
        shutil.rmtree(gone, ignore_errors=True)
        os.rename(path, gone)
        shutil.rmtree(gone)


class Checkpoints:
    """Makes, lists and removes checkpoints."""

    def __init__(self, containers: ContainerStore, starter: Starter, events: ContainerEvents) -> None:
        self._containers = containers
        self._starter = starter
        self._events = events
        self._writing: set[Path] = set()
        self._read = Counter[Path]()

    @contextmanager
    def being_written(self, path: Path) -> Iterator[None]:
        """Nobody else makes, removes or reads a checkpoint meanwhile.

        :raises Conflict: somebody does.
        """
        if path in self._writing or self._read[path]:
            raise Conflict(f"checkpoint {path.name} is in use", hint="wait for that")
        self._writing.add(path)
        try:
            yield
        finally:
            self._writing.discard(path)

    @contextmanager
    def being_read(self, path: Path) -> Iterator[None]:
        """Nobody removes a checkpoint meanwhile: what vanishes would be missing in a copy that looks whole.

        :raises Conflict: somebody does.
        """
        if path in self._writing:
            raise Conflict(f"checkpoint {path.name} is in use", hint="wait for that")
        self._read[path] += 1
        try:
            yield
        finally:
            self._read[path] -= 1
            self._read += Counter()  # without those that are at nought

    def files(self, ref: str, directory: str) -> CheckpointFiles:
        """A container's checkpoints, or those in another directory."""
        return CheckpointFiles.of(self._containers.get(ref), directory)

    async def create(self, ref: str, name: str, directory: str, *, ends: bool) -> None:
        """Write a container into a checkpoint.

        :param directory: other than its own; empty for that.
        :param ends: whether its processes end then; nothing starts it again but a client.
        :raises Conflict: it does not run, is paused, or has such a checkpoint; or something was executed in it.
        :raises Unsupported: it is of a kind that cannot be restored.
        """
        container = self._containers.get(ref)
        files = CheckpointFiles.of(container, directory)
        path = files.path(name)
        async with container.lock:
            container.state.check_running(container.id)
            self._check(container)
            before = container.end_requested, container.state.stopped_by_hand
            try:
                if ends:
                    container.end_requested = container.state.stopped_by_hand = True
                with self.being_written(path):
                    await self._write(container, files, name, ends=ends)
            except BaseException:
                container.end_requested, container.state.stopped_by_hand = before
                raise
        self._events.publish(container, "checkpoint")

    def _check(self, container: Container) -> None:
        if container.state.status is Status.PAUSED:
            raise Conflict(f"container {container.id} is paused, unpause the container before checkpoint")
        if self._starter.other_runtime(container) is not None:
            raise Unsupported("only containers of the keeper's own have checkpoints", hint="no --runtime, no hooks")

    async def _write(self, container: Container, files: CheckpointFiles, name: str, *, ends: bool) -> None:
        from wherry.runtime.criu.common import Common  # noqa: PLC0415
        from wherry.runtime.criu.dump import Wanted, dump, executed_in  # noqa: PLC0415 - few have checkpoints

        target = self._target(container)
        logs = container.directory / LOGS

        def write() -> None:
            with disk_errors("write a checkpoint"):
                draft = files.draft(name)
                try:
                    logs.mkdir(0o700, exist_ok=True)
                    common = Common(str(draft), str(logs), tcp_established=True, ext_unix_sk=True, file_locks=True)
                    dump(target, Wanted(common, leave_running=not ends))
                    write_addresses(container, draft)
                    files.publish(draft, name)
                except BaseException:
                    shutil.rmtree(draft, ignore_errors=True)
                    raise

        for _ in range(_PROBES if container.config.healthcheck else 0):
            if not await in_thread(executed_in, target):
                break
            await asyncio.sleep(_AGAIN)
        await in_thread(write)

    def _target(self, container: Container) -> Target:
        from wherry.runtime.criu.dump import Target  # noqa: PLC0415

        pid = container.state.pid
        spec = _with_network_outside(self._starter.spec_of(container), container)
        plan = compile_spec(spec, container_id=container.id, manner=Manner(state=b"{}"))
        return Target(pid, start_time(pid) or 0, spec, plan)

    async def list(self, ref: str, directory: str) -> list[str]:
        """The names of a container's checkpoints, or of those in a directory."""
        return await in_thread(self.files(ref, directory).names)

    async def remove(self, ref: str, name: str, directory: str) -> None:
        """Remove one.

        :raises NotFound: there is none.
        """
        files = self.files(ref, directory)
        with disk_errors("remove a checkpoint"), self.being_written(files.path(name)):
            await in_thread(files.remove, name)


def _with_network_outside(spec: Spec, container: Container) -> Spec:
    """The network is made by wherry, and another one at a restoration; a daemon that came later has no path of it."""
    if spec.linux is None or (container.host.network_mode or "") in ("none", "host"):
        return spec
    path = f"/proc/{container.state.pid}/ns/net"
    spaces = tuple(Namespace(one.type, path) if one.type == "network" else one for one in spec.linux.namespaces)
    return replace(spec, linux=replace(spec.linux, namespaces=spaces))
