"""Checkpoints to registries, and from there: pushed and pulled as volumes are.

What is pulled decides what processes do (:mod:`wherry.runtime.criu`). Its archive is as hostile as any: of it come
files of a flat directory, which only root enters, and nothing else.
"""

from __future__ import annotations

import os
import re
import shutil
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Final

from wherry.content.durable import disk_errors
from wherry.content.thread_stream import pieces_of
from wherry.content.threads import Worker, in_thread
from wherry.docker import times
from wherry.errors import InvalidInput
from wherry.layers.artifact import ArtifactKind
from wherry.layers.limits import Limits
from wherry.layers.tar.entry import Kind, clean_name
from wherry.layers.unpack import unpack_files
from wherry.linux.fd import Fd
from wherry.volumes import archive

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from wherry.distribution.transfer.artifacts import Take
    from wherry.docker.progress import ProgressMessage
    from wherry.engine.lifecycle.checkpoints import CheckpointFiles, Checkpoints
    from wherry.engine.volumes.artifacts import Registries
    from wherry.layers.source import Reader
    from wherry.layers.tar.entry import Entry
    from wherry.oci.manifest import Descriptor

__all__ = ["CheckpointArtifacts", "unpack_checkpoint"]

#: Memory of a machine's size, in some files for each process.
LIMITS: Final = Limits(max_bytes=1 << 44, max_entries=1 << 20)
_KIND: Final = ArtifactKind("checkpoint", LIMITS)
_NAME: Final = "org.wherry.checkpoint.name"
_FILE: Final = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")


class CheckpointArtifacts:
    """Pushes and pulls checkpoints."""

    def __init__(self, checkpoints: Checkpoints, registries: Registries) -> None:
        self._checkpoints = checkpoints
        self._registries = registries

    async def push(
        self, ref: str, name: str, directory: str, reference: str, auth: str
    ) -> AsyncGenerator[ProgressMessage, None]:
        """Push a checkpoint, and yield dockerd's messages; to be closed.

        :raises NotFound: there is no such checkpoint.
        """
        path = await self._checkpoints.files(ref, directory).found(name)
        created = times.rfc3339((await in_thread(path.stat)).st_mtime_ns)

        def content() -> AsyncGenerator[bytes, None]:
            return pieces_of(lambda write: archive.pack(str(path), write))

        about = partial(_KIND.describe, name, created, {_NAME: name})
        with self._checkpoints.being_read(path):
            async with aclosing(self._registries.push_artifact(reference, auth, name, content, about)) as messages:
                async for message in messages:
                    yield message

    async def pull(
        self, ref: str, name: str, directory: str, reference: str, auth: str
    ) -> AsyncGenerator[ProgressMessage, None]:
        """Make a checkpoint of what was pushed, and yield dockerd's messages; to be closed.

        :raises Conflict: there is one of that name.
        :raises InvalidInput: something else than a checkpoint is there.
        """
        files = self._checkpoints.files(ref, directory)
        await in_thread(files.check_new, name)

        def choose(document: bytes) -> tuple[Descriptor, int, Take]:
            packed = _KIND.packed_of(document, reference)
            return packed.blob, packed.size or 0, partial(_take, files, name, limits=packed.limits)

        with self._checkpoints.being_written(files.path(name)):
            async with aclosing(self._registries.pull_artifact(reference, auth, choose)) as messages:
                async for message in messages:
                    yield message
        yield {"status": f"Status: Made checkpoint {name} of {reference}"}


async def _take(files: CheckpointFiles, name: str, stream: Reader, *, limits: Limits) -> None:
    worker = Worker(1, "checkpoint-pull")  # of its own: it lasts as long as the registry likes
    try:
        await worker.run(lambda check: _unpack(files, name, stream, check, limits))
    finally:
        worker.close()


def _unpack(files: CheckpointFiles, name: str, stream: Reader, check: Callable[[], object], limits: Limits) -> None:
    with disk_errors("unpack a checkpoint"):
        draft = files.draft(name)
        try:
            unpack_checkpoint(stream, draft, check, limits)
            files.publish(draft, name)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise


def unpack_checkpoint(stream: Reader, draft: Path, check: Callable[[], object], limits: Limits = LIMITS) -> None:
    """Unpack an archive into the directory of a checkpoint to be.

    :param check: called for each entry: raises where the work is not wanted any more.
    :raises CorruptData: the archive is damaged, or ends too early.
    :raises InvalidInput: it has something else than files beside each other, or is no checkpoint.
    :raises TooLarge: it is a decompression bomb.
    """

    def prepare(entry: Entry) -> bool:
        check()
        name = entry.name.removeprefix(b"./")
        if not clean_name(name) and entry.kind is Kind.DIRECTORY:
            return False
        if entry.kind is not Kind.FILE or not _FILE.fullmatch(name):
            shown = name[:80].decode(errors="replace")
            raise InvalidInput(f"{shown!r} cannot be a part of a checkpoint: it is no file beside others")
        entry.uid, entry.gid, entry.mode = os.geteuid(), os.getegid(), 0o600
        return True

    with Fd(os.open(draft, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)) as root:
        unpack_files(stream, root.fileno(), limits, prepare)
    if not (draft / "inventory.img").is_file():
        raise InvalidInput("the archive is no checkpoint: it has no inventory.img")
