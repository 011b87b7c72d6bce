"""Addresses of git repositories, as BuildKit's clients write them; no I/O.

``https://host/repo.git#ref:subdir``, ``git@host:repo.git#ref``, and as a source's identifier ``git://host/repo.git#ref``
with the whole address in an attribute.
"""

from __future__ import annotations

import posixpath
import re
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from msgspec import Struct

from wherry.errors import InvalidInput
from wherry.legible import without_user

__all__ = ["GitUrl", "check_ref", "is_commit", "parse"]

_SCHEMES: Final = frozenset({"http", "https", "ssh", "git", "file"})
_SCHEME: Final = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://")
_SCP: Final = re.compile(r"(?:([A-Za-z0-9_.-]+)@)?([A-Za-z0-9.-]+|\[[0-9a-fA-F:.]+\]):([^:][^\0\n]*)")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
# git-check-ref-format(1), as far as it is about safety: no option, no range, no pattern, nothing invisible.
_REF: Final = re.compile(r"(?!-)[^\x00-\x20\x7f~^:?*\[\\]{1,1024}")
_MAX: Final = 8192


class GitUrl(Struct, frozen=True):
    """Where a repository is, and what of it is wanted.

    :param remote: for the git program; without a password.
    :param ref: a branch, a tag, a commit; empty: what the repository's HEAD is.
    """

    scheme: str
    host: str
    remote: str
    ref: str = ""
    subdir: str = ""
    username: str = ""
    password: str = ""

    @property
    def shown(self) -> str:
        """For people and records."""
        return self.remote

    @property
    def origin(self) -> str:
        """Scheme, host and port, with a slash, of one that has a scheme: where credentials belong."""
        scheme, _, rest = self.remote.partition("://")
        return f"{scheme}://{rest.partition('/')[0]}/"


def parse(text: str) -> GitUrl:
    """Read an address.

    :raises InvalidInput: it is none, or of a transport that is not allowed.
    """
    if len(text) > _MAX or "\0" in text or "\n" in text or text.startswith("-"):
        raise InvalidInput(f"invalid address of a git repository: {without_user(text)[:200]!r}")
    address, _, fragment = text.partition("#")
    ref, _, subdir = fragment.partition(":")
    subdir = posixpath.normpath(f"/{subdir}").lstrip("/")
    if ref:
        check_ref(ref)
    if scheme := _SCHEME.match(address):
        return _from_url(address, scheme[1].lower(), ref, subdir)
    if match := _SCP.fullmatch(address):
        user, host, path = match[1] or "", match[2], match[3]
        if host.startswith("-") or user.startswith("-") or path.startswith("-"):
            raise InvalidInput(f"invalid address of a git repository: {without_user(address)[:200]!r}")
        return GitUrl("ssh", host, f"{user}@{host}:{path}" if user else f"{host}:{path}", ref, subdir, user)
    raise InvalidInput(f"invalid address of a git repository: {without_user(address)[:200]!r}")


def _from_url(address: str, scheme: str, ref: str, subdir: str) -> GitUrl:
    if scheme not in _SCHEMES:
        raise InvalidInput(
            f"git repositories cannot be fetched by {scheme[:40]!r}", hint="http, https, ssh, git or file"
        )
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port
    except ValueError as exc:
        raise InvalidInput(f"invalid address of a git repository: {without_user(address)[:200]!r}") from exc
    if host.startswith("-") or (not host and scheme != "file") or not parts.path.strip("/"):
        raise InvalidInput(f"invalid address of a git repository: {without_user(address)[:200]!r}")
    username, password = unquote(parts.username or ""), unquote(parts.password or "")
    place = (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
    if scheme == "ssh" and username:
        place = f"{parts.username}@{place}"
        if username.startswith("-"):
            raise InvalidInput(f"invalid address of a git repository: {without_user(address)[:200]!r}")
    remote = urlunsplit(SplitResult(scheme, place, parts.path, "", ""))
    return GitUrl(scheme, host, remote, ref, subdir, username, password)


def check_ref(ref: str) -> None:
    """Whether a text may be a branch, a tag or a commit.

    :raises InvalidInput: it may not.
    """
    if not _REF.fullmatch(ref) or ".." in ref or "@{" in ref or "//" in ref or ref.endswith((".lock", "/", ".")):
        raise InvalidInput(f"invalid git reference {ref[:200]!r}")


def is_commit(ref: str) -> bool:
    """Whether a text is the whole ID of a commit."""
    return _COMMIT.fullmatch(ref) is not None
