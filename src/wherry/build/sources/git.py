"""Git repositories: ``git://``.

A repository is kept, bare, as far as it was fetched: the next build fetches what is new. Every checkout is a layer.
Its files have the time of the commit, so that the same commit is the same everywhere.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import stat
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Final

from wherry.build.model.graph import CacheSharing
from wherry.build.model.snapshot import EMPTY, Snapshot
from wherry.build.sources import git_url
from wherry.build.sources.contract import Directories, Fetch, SourceKey, SourceRequest
from wherry.build.sources.drafts import Draft, Drafts
from wherry.build.sources.git_bounds import DiskBounds
from wherry.build.sources.git_checkout import Checkout
from wherry.build.sources.git_program import GitProgram
from wherry.build.sources.git_url import GitUrl
from wherry.build.sources.ssh_agent import forwarded_agent
from wherry.content.durable import disk_errors
from wherry.content.threads import in_thread
from wherry.errors import InvalidInput, NotFound, SystemFault, TooLarge, WherryError
from wherry.layers.limits import DEFAULT_LIMITS, Limits
from wherry.linux import trees
from wherry.oci.digest import Digest

__all__ = ["GitSource"]

_KIND: Final = "source.git.checkout"
_CHECKSUM_LENGTHS: Final = range(7, 65)
_PROTOCOLS: Final = {
    "http": ("http", "https"),
    "https": ("https",),
    "ssh": ("ssh",),
    "git": ("git",),
    "file": ("file",),
}
_PATIENCE: Final = 3600.0  # seconds for all that has to be done for a commit
# What git calls the files that it has not finished: locks, packs, objects; and what we call an index.
_UNFINISHED_ENDS: Final = (".lock", ".temp")
_UNFINISHED: Final = ("tmp_", "index-", "shallow_")
_SUBMODULES: Final = ("http", "https", "ssh", "git")  # of any repository, but never of this machine's files


class GitSource:
    """Opens git repositories.

    :param directories: where the bare ones are kept.
    :param drafts: makes layers.
    :param limits: of a repository with what is checked out.
    """

    def __init__(self, directories: Directories, drafts: Drafts, limits: Limits = DEFAULT_LIMITS) -> None:
        self.limits: Final = limits
        self.directories: Final = directories
        self.drafts: Final = drafts

    def open(self, request: SourceRequest) -> Fetch:
        """Begin.

        :raises InvalidInput: the address or an attribute is wrong.
        """
        attributes = request.op.attributes
        url = _url(request.op.identifier, attributes.get("git.fullurl", ""))
        checksum = attributes.get("git.checksum", "").lower()
        if checksum and (len(checksum) not in _CHECKSUM_LENGTHS or not set(checksum) <= set("0123456789abcdef")):
            raise InvalidInput(f"invalid git checksum {checksum[:80]!r}")
        for name in attributes:
            if name.startswith("git.sig.") or name in ("git.bundle", "git.checkoutbundle"):
                raise InvalidInput(f"{name} is not supported by this version of wherry")
        return _GitFetch(self, request, url, checksum)


def _url(identifier: str, full: str) -> GitUrl:
    """The whole address, with the reference and the subdirectory that only the identifier has."""
    text = identifier.partition("://")[2]
    rest, mark, fragment = text.partition("#")
    if not full:
        full = rest if "://" in rest else f"https://{rest}"
    return git_url.parse(full.partition("#")[0] + mark + fragment)


class _GitFetch:
    def __init__(self, source: GitSource, request: SourceRequest, url: GitUrl, checksum: str) -> None:
        self._source = source
        self._request = request
        self._url = url
        self._checksum = checksum
        self._stack = AsyncExitStack()
        self._program: GitProgram | None = None
        self._commit = ""
        self._ref = ""
        self._draft: Draft | None = None

    async def key(self) -> SourceKey:
        """The commit, and what is taken of it."""
        url, attributes = self._url, self._request.op.attributes
        if git_url.is_commit(url.ref):
            self._commit = url.ref
        else:
            self._commit, self._ref = await self._resolve()
        if not self._commit.startswith(self._checksum):
            raise InvalidInput(f"expected checksum to match {self._checksum}, got {self._commit}")
        about = [url.remote, self._commit, url.subdir, self._keeps_git, attributes.get("git.skipsubmodules", "")]
        named = url.shown + (f"#{url.ref}" if url.ref else "")
        return SourceKey(
            key=f"git {Digest.from_bytes(json.dumps(about).encode()).hex}",
            description=f"git snapshot for {named}",
            pins=((named, f"sha{1 if len(self._commit) == 40 else 256}:{self._commit}"),),
        )

    async def snapshot(self) -> Snapshot:
        """A layer with the files."""
        program, url = await self._git(), self._url
        kept = await self._source.directories.acquire(
            _KIND, url.remote, f"shared git repo for {url.shown}", sharing=CacheSharing.LOCKED
        )
        self._stack.callback(kept.release)
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._take(program, kept.path)
        except TooLarge:
            await in_thread(_empty, kept.path)
            raise
        except TimeoutError:
            raise SystemFault(f"{url.shown}: it takes more than {_PATIENCE:g} s") from None
        assert self._draft is not None
        snapshot = await self._draft.commit()
        self._draft = None
        return snapshot

    async def _take(self, program: GitProgram, kept: Path) -> None:
        """Fetch into a repository, and check out of it into a draft."""
        repository, bounds = str(kept), program.bounds
        bounds.watch(kept)
        await in_thread(_tidy, kept)
        await program.run("init", "--bare", "--quiet", "--template=", repository)
        await program.run("config", "uploadpack.allowAnySHA1InWant", "true", directory=repository)
        await self._fetch(program, repository)
        await in_thread(bounds.check)
        self._draft = await self._source.drafts.draft(EMPTY)
        bounds.watch(Path(self._draft.overlay.upper))
        checkout = Checkout(program, repository, self._commit, self._draft.overlay.upper, self._url)
        attributes = self._request.op.attributes
        await checkout.run(keep_git=self._keeps_git, submodules=not attributes.get("git.skipsubmodules"), ref=self._ref)

    async def close(self) -> None:
        """Let go of the repository."""
        draft, self._draft = self._draft, None
        try:
            if draft is not None:
                await draft.discard()
        finally:
            await self._stack.aclose()

    @property
    def _keeps_git(self) -> bool:
        return self._request.op.attributes.get("git.keepgitdir", "") in ("true", "1")

    # --- asking -----------------------------------------------------------------------------------

    async def _resolve(self) -> tuple[str, str]:
        """The commit of a branch or a tag, and its whole name."""
        ref = self._url.ref
        wanted = [ref, f"{ref}^{{}}"] if ref else ["HEAD"]
        output = await (await self._git()).run("ls-remote", "--quiet", "--", self._url.remote, *wanted)
        found = await in_thread(_references, output)
        for name in ("HEAD",) if not ref else (ref, f"refs/heads/{ref}", f"refs/tags/{ref}"):
            if name in found and (name == "HEAD" or name.startswith("refs/")):
                return found.get(f"{name}^{{}}", found[name]), name
        raise NotFound(f"repository does not contain ref {ref or 'HEAD'}, output: {self._url.shown}")

    async def _git(self) -> GitProgram:
        if self._program is None:
            agent, known_hosts = await self._ssh()
            transports = dict.fromkeys((*_PROTOCOLS[self._url.scheme], *_SUBMODULES))
            self._program = GitProgram(
                list(transports),
                configuration=await self._credentials(),
                agent=agent,
                known_hosts=known_hosts,
                bounds=DiskBounds(self._source.limits),
            )
        return self._program

    async def _ssh(self) -> tuple[str, str]:
        attributes = self._request.op.attributes
        identifier, known_hosts = attributes.get("git.mountsshsock", ""), attributes.get("git.knownsshhosts", "")
        if self._url.scheme != "ssh" or not (identifier or known_hosts):
            return "", ""
        return await self._stack.enter_async_context(forwarded_agent(self._request.session, identifier, known_hosts))

    async def _credentials(self) -> list[tuple[str, str]]:
        """Headers for this host only: those that the client has as a secret, or what the address says.

        A host that gets them must not redirect: git would go on to send them to where that leads.
        """
        url, attributes = self._url, self._request.op.attributes
        if url.scheme not in ("http", "https"):
            return []
        header = ""
        for name, is_token in (("git.authheadersecret", False), ("git.authtokensecret", True)):
            if value := await self._secret(attributes.get(name, "")):
                header = _basic("x-access-token", value) if is_token else value
                break
        else:
            if url.username or url.password:
                header = _basic(url.username, url.password)
        own = f"http.{url.origin}"
        return (
            [(f"{own}.extraHeader", f"Authorization: {header}"), (f"{own}.followRedirects", "false")] if header else []
        )

    async def _secret(self, name: str) -> str:
        """A secret for this host, or for all."""
        for one in (f"{name}.{self._url.host}", name) if name else ():
            with suppress(NotFound):
                value = (await self._request.session.secret(one)).decode(errors="replace").strip()
                if not value.isprintable():
                    raise InvalidInput(f"the secret {one} is no value of a header")
                return value
        return ""

    # --- fetching ---------------------------------------------------------------------------------

    async def _fetch(self, program: GitProgram, repository: str) -> None:
        """Have the commit in the repository, with as little as possible."""
        if await self._is_there(program, repository):
            return
        for attempt in (self._fetch_commit, self._fetch_ref):  # servers may refuse either
            try:
                await attempt(program, repository)
            except TooLarge:
                raise
            except WherryError:
                await in_thread(program.bounds.check)  # git does not always say what a limit has ended
            if await self._is_there(program, repository):
                return
        try:
            await self._fetch_all(program, repository)
        except WherryError:
            await in_thread(program.bounds.check)
            raise
        if not await self._is_there(program, repository):
            raise NotFound(f"{self._url.shown} has no commit {self._commit}")

    async def _fetch_commit(self, program: GitProgram, repository: str) -> None:
        await self._fetch_one(program, repository, self._commit)

    async def _fetch_ref(self, program: GitProgram, repository: str) -> None:
        if self._ref:
            await self._fetch_one(program, repository, self._ref)

    async def _fetch_one(self, program: GitProgram, repository: str, ref: str) -> None:
        options = ("--quiet", "--depth=1", "--no-tags")
        await program.run("fetch", *options, "--", self._url.remote, ref, directory=repository)

    async def _fetch_all(self, program: GitProgram, repository: str) -> None:
        refs = ("+refs/heads/*:refs/remotes/all/*", "+refs/tags/*:refs/tags/*")
        await program.run("fetch", "--quiet", "--", self._url.remote, *refs, directory=repository)

    async def _is_there(self, program: GitProgram, repository: str) -> bool:
        try:
            await program.run("cat-file", "-e", f"{self._commit}^{{commit}}", directory=repository)
        except WherryError:
            return False
        return True


def _basic(username: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def _tidy(repository: Path) -> None:
    """Remove what a git that was killed has left, and its successors would take for another one at work.

    The directory is locked: nobody else is. No reference can be called ``x.lock`` (git-check-ref-format(1)).
    """
    files = trees.Files(repository)
    found = ((files.path(name), name) for name, status in files if not stat.S_ISDIR(status.st_mode))
    left = [path for path, name in found if name.endswith(_UNFINISHED_ENDS) or name.startswith(_UNFINISHED)]
    with disk_errors("tidy a git repository"):
        for path in left:
            (repository / path).unlink(missing_ok=True)


def _empty(repository: Path) -> None:
    with disk_errors("empty a git repository"):
        for name in os.listdir(repository):
            trees.remove(repository / name)


def _references(output: bytes) -> dict[str, str]:
    """The commits of references that git lists, by their names."""
    pairs = (line.partition("\t") for line in output.decode(errors="replace").splitlines())
    return {name: commit for commit, _, name in pairs if git_url.is_commit(commit)}
