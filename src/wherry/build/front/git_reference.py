"""Git repositories as Dockerfiles and build contexts name them: ``https://host/repo.git#ref:directory?...``."""

from __future__ import annotations

import posixpath
import re
from typing import Final
from urllib.parse import parse_qs, urlsplit

from msgspec import Struct

from wherry.build.front.options import parse_bool
from wherry.build.model.graph import SourceOp
from wherry.errors import InvalidInput

__all__ = ["GitReference", "git_source"]

_PROTOCOL: Final = re.compile(r"([a-zA-Z0-9]+)://")
_KNOWN: Final = frozenset(("http", "https", "ssh", "git"))
_SECURE_COPY: Final = re.compile(r"([a-zA-Z0-9_-]+)@([a-zA-Z0-9.-]+):([^?#]*)(?:\?([^#]*))?(?:#(.*))?")
_SWITCHES: Final = ("keep-git-dir", "submodules", "fetch-by-commit")
_QUERIES: Final = frozenset(("ref", "tag", "branch", "subdir", "checksum", "commit", "mtime", *_SWITCHES))


class GitReference(Struct, frozen=True, kw_only=True):
    """A git repository, and what of it.

    :param remote: for the git program: without query and fragment.
    :param reference: a branch, a tag or a commit; empty: the default branch.
    :param checksum: the commit that it has to be; empty: any.
    :param like_a_path: it was written like a file's path (``github.com/foo/bar``): for build contexts only.
    """

    remote: str
    scheme: str
    host: str
    path: str
    reference: str = ""
    subdirectory: str = ""
    checksum: str = ""
    keep_git_directory: bool | None = None
    submodules: bool | None = None
    modification_times: str = ""
    fetch_by_commit: bool = False
    like_a_path: bool = False

    @classmethod
    def parse(cls, text: str, *, local: bool = False) -> GitReference | None:
        """Read a reference; None: it is none of git's. An HTTP URL is git's if its path ends in ``.git``.

        :param local: whether ``file:///...`` is one, too: a repository on this machine, which a client may name, and
            a Dockerfile may not.
        :raises InvalidInput: it is, and wrong.
        """
        if text.startswith(("./", "../")) or (":" not in text and not text.startswith("github.com/")):
            return None
        if text.startswith("github.com/"):
            return cls._from_url(f"https://{text}", like_a_path=True)
        protocol = _PROTOCOL.match(text)
        if protocol is None:
            return cls._from_secure_copy(text)
        scheme = protocol[1].lower()
        if scheme not in _KNOWN and not (local and scheme == "file"):
            return None
        if scheme in ("http", "https") and not _path(text).endswith(".git"):
            return None
        return cls._from_url(text)

    @classmethod
    def _from_url(cls, text: str, *, like_a_path: bool = False) -> GitReference:
        try:
            parts = urlsplit(text)
        except ValueError as exc:
            raise InvalidInput(f'invalid git URL "{text}"', cause=str(exc)) from exc
        remote = parts._replace(query="", fragment="").geturl()
        if like_a_path:
            remote = remote.removeprefix("https://")
        host = parts.netloc.rpartition("@")[2]
        place = (remote, parts.scheme, host, parts.path)
        return cls._with_rest(place, parts.query, parts.fragment, like_a_path=like_a_path)

    @classmethod
    def _from_secure_copy(cls, text: str) -> GitReference | None:
        match = _SECURE_COPY.fullmatch(text)
        if match is None:
            return None
        user, host, path, query, fragment = match.groups()
        return cls._with_rest((f"{user}@{host}:{path}", "ssh", host, path), query or "", fragment or "")

    @classmethod
    def _with_rest(
        cls, place: tuple[str, str, str, str], query: str, fragment: str, *, like_a_path: bool = False
    ) -> GitReference:
        remote, scheme, host, path = place
        reference, _, directory = fragment.partition(":")
        values = _query(query)
        directory = posixpath.normpath("/" + directory).lstrip("/") if directory else ""
        return cls(
            remote=remote,
            scheme=scheme.lower(),
            host=host,
            path=path,
            reference=_reference(reference, values),
            subdirectory=_agreed("subdir", directory, values.get("subdir", "")),
            checksum=values.get("checksum") or values.get("commit", ""),
            keep_git_directory=_switch("keep-git-dir", values),
            submodules=_switch("submodules", values),
            modification_times=_times(values.get("mtime", "")),
            fetch_by_commit=_switch("fetch-by-commit", values) or False,
            like_a_path=like_a_path,
        )


def git_source(reference: GitReference, *, keep_git_directory: bool = False, modification_times: str = "") -> SourceOp:
    """The source operation of a repository, in BuildKit's words: the same for every protocol that leads there."""
    remote = f"https://{reference.remote}" if reference.like_a_path else reference.remote
    identifier = reference.host + posixpath.normpath("/" + reference.path.lstrip("/"))
    if reference.reference or reference.subdirectory:
        identifier += f"#{reference.reference}"
        identifier += f":{reference.subdirectory}" if reference.subdirectory else ""
    attributes = {
        "git.fullurl": remote,
        "git.authtokensecret": "GIT_AUTH_TOKEN",
        "git.authheadersecret": "GIT_AUTH_HEADER",
    }
    if keep_git_directory or reference.keep_git_directory:
        attributes["git.keepgitdir"] = "true"
    if reference.scheme == "ssh":
        attributes["git.mountsshsock"] = "default"
    if reference.checksum:
        attributes["git.checksum"] = reference.checksum
    if reference.submodules is False:
        attributes["git.skipsubmodules"] = "true"
    if times := reference.modification_times or modification_times:
        attributes["git.mtime"] = times
    if reference.fetch_by_commit:
        attributes["git.fetchbycommit"] = "true"
    return SourceOp(f"git://{identifier}", attributes)


def _path(text: str) -> str:
    try:
        return urlsplit(text).path
    except ValueError:
        return ""


def _query(text: str) -> dict[str, str]:
    try:
        found = parse_qs(text, keep_blank_values=True, max_num_fields=32)
    except ValueError as exc:
        raise InvalidInput(f'invalid query "{text}"', cause=str(exc)) from exc
    for name, values in found.items():
        if len(values) > 1:
            raise InvalidInput(f'query "{name}" has multiple values')
        if name not in _QUERIES:
            raise InvalidInput(f'unexpected query "{name}"')
        if not values[0] and name not in _SWITCHES:
            raise InvalidInput(f'query "{name}" has no value')
    return {name: values[0] for name, values in found.items()}


def _switch(name: str, values: dict[str, str]) -> bool | None:
    if name not in values:
        return None
    value = parse_bool(values[name]) if values[name] else True
    if value is None:
        raise InvalidInput(f'invalid {name} value: "{values[name]}"')
    return value


def _times(text: str) -> str:
    if text not in ("", "checkout", "commit"):
        raise InvalidInput(f'invalid mtime value: "{text}" (must be "checkout" or "commit")')
    return text


def _agreed(what: str, first: str, second: str) -> str:
    if first and second and first != second:
        raise InvalidInput(f'{what} conflicts: "{first}" vs "{second}"')
    return first or second


def _reference(fragment: str, values: dict[str, str]) -> str:
    found = _agreed("ref", fragment, values.get("ref", ""))
    tag, branch = values.get("tag", ""), values.get("branch", "")
    if tag and branch:
        raise InvalidInput("branch conflicts with tag")
    if tag:
        found = _agreed("ref", found, tag if tag.startswith("refs/tags/") else f"refs/tags/{tag}")
    if branch:
        found = _agreed("ref", found, branch if branch.startswith("refs/heads/") else f"refs/heads/{branch}")
    return found
