"""From a bare repository and a commit to files in a directory."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from wherry.build.sources.git_bounds import Survey
from wherry.build.sources.git_program import GitProgram
from wherry.build.sources.git_url import GitUrl
from wherry.content.durable import disk_errors
from wherry.content.threads import in_thread
from wherry.errors import NotFound, SystemCallError, TooLarge, WherryError
from wherry.linux import trees
from wherry.linux.fd import Fd
from wherry.linux.files import RESOLVE, openat2

__all__ = ["Checkout"]

_PATH: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_GIT: Final = ".git"
# What says when, and from where, this repository was made.
_TRACES: Final = ("FETCH_HEAD", "ORIG_HEAD", "logs", "description", "hooks")
_DEEPEST: Final = 16  # submodules in each other
_MOST_SUBMODULES: Final = 2000
_LATEST: Final = 1 << 40  # seconds; what file systems can store


class Checkout:
    """One checkout.

    :param repository: the bare one, which has the commit.
    :param target: an empty directory, which becomes the root.
    """

    def __init__(self, program: GitProgram, repository: str, commit: str, target: str, url: GitUrl) -> None:
        self._program = program
        self._repository = repository
        self._commit = commit
        self._target = Path(target)
        self._url = url
        self._where = self._target / f".checkout-{secrets.token_hex(8)}" if url.subdir else self._target

    async def run(self, *, keep_git: bool, submodules: bool, ref: str) -> None:
        """Check out.

        :param keep_git: whether a ``.git`` directory is to be there, which knows this one commit.
        :param ref: the whole name of what was asked for, where it is known.
        :raises NotFound: there is no such subdirectory.
        """
        await self._survey()
        with disk_errors("check out a git repository"):
            self._where.mkdir(mode=0o755, exist_ok=True)
        wanted = submodules and await self._has_submodules()
        if keep_git or wanted:
            await self._as_repository(ref)
        else:
            await self._plainly()
        if wanted:
            await self._add_submodules()
        moment = int(await self._git("show", "--no-patch", "--format=%ct", self._commit) or b"0")
        await in_thread(self._finish, min(max(moment, 0), _LATEST), keep_git)

    async def _survey(self) -> None:
        """Have a look at everything before git puts it into memory and on the disk."""
        survey = Survey(self._program.bounds.limits)
        words = ("ls-tree", "-r", "-t", "-l", "-z", "--full-tree", self._commit)
        await self._program.run(*words, directory=self._repository, take=survey.take)

    async def _git(self, *arguments: str) -> bytes:
        return await self._program.run(*arguments, directory=self._repository)

    async def _has_submodules(self) -> bool:
        try:
            await self._git("cat-file", "-e", f"{self._commit}:.gitmodules")
        except WherryError:
            return False
        return True

    async def _plainly(self) -> None:
        index = Path(self._repository) / f"index-{secrets.token_hex(8)}"
        try:
            places = (f"--git-dir={self._repository}", f"--work-tree={self._where}")
            more = {"GIT_INDEX_FILE": str(index)}
            await self._program.run(
                *places, "read-tree", "--reset", "-u", self._commit, directory=str(self._where), more=more
            )
        finally:
            index.unlink(missing_ok=True)

    async def _as_repository(self, ref: str) -> None:
        run, here = self._program.run, str(self._where)
        await run("init", "--quiet", "--template=", here)
        await run(
            "fetch", "--quiet", "--depth=1", "--no-tags", "--", f"file://{self._repository}", self._commit,
            directory=here, files=True,
        )  # fmt: skip
        await run("config", "remote.origin.url", self._url.remote, directory=here)
        await run("config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*", directory=here)
        if ref.startswith("refs/heads/"):
            await run("update-ref", ref, self._commit, directory=here)
            await run("symbolic-ref", "HEAD", ref, directory=here)
        else:
            await run("update-ref", "--no-deref", "HEAD", self._commit, directory=here)
        if ref.startswith("refs/tags/"):
            await run("update-ref", ref, self._commit, directory=here)
        await run("read-tree", "--reset", "-u", self._commit, directory=here)

    async def _add_submodules(self) -> None:
        """Add submodules, and theirs; not by ``--recursive``, which a repository could keep busy with itself.

        :raises TooLarge: they are too many, or too far down.
        """
        level, count = [self._where], 0
        for _ in range(_DEEPEST):
            found = [path for place in level for path in await self._submodules(place)]
            count += len(found)
            if count > _MOST_SUBMODULES:
                raise TooLarge(f"the git repository has more than the {_MOST_SUBMODULES} submodules allowed")
            level = [path for path in found if path.joinpath(_GIT).exists()]  # not one that is not to be updated
            if not level:
                return
        if any([await self._gitlinks(place) for place in level]):
            raise TooLarge(f"the git repository has submodules in each other, more than the {_DEEPEST} levels allowed")

    async def _submodules(self, place: Path) -> list[Path]:
        """Check out the submodules of a repository; where they are."""
        found = await self._gitlinks(place)
        if found:
            here, words = str(place), ("submodule", "--quiet", "update", "--init")
            try:
                await self._program.run(*words, "--depth=1", directory=here, files=False)
            except TooLarge:
                raise
            except WherryError:  # not every server has every commit at hand
                await self._program.run(*words, directory=here, files=False)
        return [place / os.fsdecode(path) for path in found]

    async def _gitlinks(self, place: Path) -> list[bytes]:
        survey = Survey(self._program.bounds.limits)
        await self._program.run("ls-files", "--stage", "-z", directory=str(place), take=survey.take)
        return survey.submodules

    # --- in a thread ------------------------------------------------------------------------------

    def _finish(self, moment: int, keep_git: bool) -> None:
        with disk_errors("check out a git repository"):
            if keep_git:
                self._forget_traces()
            else:
                self._drop_git()
            if self._where != self._target:
                self._lift()
            _set_times(self._target, moment * 1_000_000_000)

    def _forget_traces(self) -> None:
        for name in _TRACES:
            trees.remove(self._where / _GIT / name)

    def _drop_git(self) -> None:
        """Nothing in a commit can be called so: these are git's own, of the repository and of submodules."""
        files = trees.Files(self._where)
        found = [files.path(name) for name, _ in files if name == _GIT]
        for path in found:
            trees.remove(self._where / path)

    def _lift(self) -> None:
        """Make the subdirectory the root."""
        with Fd(os.open(self._where, _PATH)) as root, self._subdirectory(root) as below:
            names = os.listdir(f"/proc/self/fd/{below.fileno()}")
            for name in names:
                os.rename(name, self._target / name, src_dir_fd=below.fileno())
        trees.remove(self._where)

    def _subdirectory(self, root: Fd) -> Fd:
        try:
            return openat2(root, self._url.subdir, _PATH, resolve=RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS)
        except SystemCallError as exc:
            raise NotFound(f"{self._url.shown} has no directory {self._url.subdir!r} at {self._commit}") from exc


def _set_times(root: Path, moment: int) -> None:
    os.chmod(root, 0o755)
    files = trees.Files(root)
    for name, _ in files:
        with suppress(FileNotFoundError):
            os.utime(root / files.path(name), ns=(moment, moment), follow_symlinks=False)
    os.utime(root, ns=(moment, moment))
