"""``wherry cp``: copy files and folders between a container and this machine."""

from __future__ import annotations

import os
import posixpath
import stat
import sys

from wherry.cli.copying.paths import (
    Place,
    base_of,
    check_kind,
    check_output,
    destination,
    kept_end,
    local_place,
    parent_and_base,
    split,
)
from wherry.cli.exit import Exit
from wherry.cli.flags.parser import BOOL, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.copying.pack import LocalArchive
    from wherry.cli.flags.parser import Options
    from wherry.client.archives import PathStatus

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|- or wherry cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
    "Copy files/folders between a container and the local filesystem",
    (
        Flag("archive", "a", BOOL, "Archive mode (copy all uid/gid information)"),
        Flag("follow-link", "L", BOOL, "Always follow symlinks in SRC_PATH"),
        Flag("quiet", "q", BOOL, "Suppress progress output during copy. Progress output is automatically suppressed "
             "if no terminal is attached"),
    ),
    min_args=2,
    max_args=2,
    aliases="wherry container cp, wherry cp",
)  # fmt: skip


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Copy, one way or the other."""
    source, target = arguments
    if not source:
        raise Exit(1, "source can not be empty")
    if not target:
        raise Exit(1, "destination can not be empty")
    options["quiet"] = options["quiet"] if "quiet" in options.given else not sys.stdout.isatty()
    from_container, source = split(source)
    to_container, target = split(target)
    if from_container and to_container:
        raise Exit(1, "copying between containers is not supported")
    try:
        if from_container:
            return _take(context, options, from_container, source, target)
        if to_container:
            return _put(context, options, source, to_container, target)
    except OSError as error:
        if error.errno is None:
            raise
        where = f" {os.fsdecode(error.filename)}" if error.filename else ""
        raise Exit(1, f"cannot copy{where}: {os.strerror(error.errno).lower()}") from error
    raise Exit(1, "must specify at least one container source")


def _absolute(path: str) -> str:
    return kept_end(os.path.abspath(path), path)


def _look(context: Context, container: str, path: str) -> PathStatus | None:
    """What is at a path of a container; None when nothing is, or it cannot be said."""
    from wherry.errors import WherryError

    try:
        return context.client.archives.look(container, path)
    except WherryError:
        return None


def _link_target(path: str, status: PathStatus) -> str:
    goal = status.link_target
    return goal if goal.startswith("/") else posixpath.join(parent_and_base(path)[0], goal)


# --- out of a container ---------------------------------------------------------------------------------------------


def _take(context: Context, options: Options, container: str, source: str, target: str) -> int:
    from wherry.cli.copying.progress import Progress
    from wherry.cli.copying.unpack import unpack

    if target != "-":
        target = _absolute(target)
        check_output(target)
    rebase = ""
    if options["follow-link"]:
        status = _look(context, container, source)
        if status is not None and stat.S_ISLNK(status.mode):
            source, rebase = _followed(source, _link_target(source, status))
    with context.client.archives.take(container, source) as (status, response):
        if target == "-":
            from wherry.cli.terminal.streams import write_all

            for piece in response.chunks():
                write_all(1, piece)
            return 0
        found = Place(source, is_there=True, is_directory=stat.S_ISDIR(status.mode))
        directory, name = destination(found, local_place(target))
        progress = Progress("Copying from container", quiet=options["quiet"])
        try:
            unpack(progress.counted(response.chunks()), directory, base_of(source), name or rebase)
        finally:
            progress.clear()
    progress.finish(progress.total if found.is_directory else status.size, target)
    return 0


def _followed(path: str, goal: str) -> tuple[str, str]:
    """A link's target with the path's end, and the name that its archive is to begin with where that is another."""
    goal = kept_end(goal, path)
    if base_of(path) == "." or base_of(path) == base_of(goal):
        return goal, ""
    return goal, base_of(path)


# --- into a container -----------------------------------------------------------------------------------------------


def _put(context: Context, options: Options, source: str, container: str, target: str) -> int:
    from wherry.cli.copying.pack import LocalArchive

    place = _container_place(context, container, target)
    if source == "-":
        if not place.is_directory:
            raise Exit(1, f'destination "{container}:{target}" must be a directory')
        from wherry.cli.output.archives import read_chunks

        pieces = read_chunks(sys.stdin.buffer)
        context.client.archives.put(container, place.path, pieces, copy_owner=options["archive"])
        return 0
    source = _absolute(source)
    real = kept_end(os.path.realpath(source, strict=True), source) if options["follow-link"] else source
    found = Place(source, is_there=True, is_directory=stat.S_ISDIR(os.lstat(real).st_mode))
    directory, name = destination(found, place)
    _send(context, options, LocalArchive(real, name or base_of(source)), (container, directory, place.path))
    return 0


def _send(context: Context, options: Options, archive: LocalArchive, target: tuple[str, str, str]) -> None:
    """Send an archive to a directory of a container.

    :param target: the container, the directory, and where the user wanted it.
    """
    from wherry.cli.copying.progress import Progress

    container, directory, shown = target
    progress = Progress("Copying to container", quiet=options["quiet"])
    pieces = progress.counted(archive.pieces())
    try:
        context.client.archives.put(container, directory, pieces, copy_owner=options["archive"])
    finally:
        progress.clear()
    progress.finish(archive.content, f"{container}:{shown}")


def _container_place(context: Context, container: str, path: str) -> Place:
    """What the destination is; a link is followed once, to where the daemon says that it leads.

    What cannot be said is taken for nothing: the daemon tells what is wrong when the archive comes.
    """
    status, place = _look(context, container, path), Place(path)
    if status is not None and stat.S_ISLNK(status.mode):
        place.path = _link_target(path, status)
        status = _look(context, container, place.path)
    if status is not None:
        check_kind(status.mode, f'destination "{container}:{path}" must be a directory or a regular file')
        place.is_there, place.is_directory = True, stat.S_ISDIR(status.mode)
    return place
