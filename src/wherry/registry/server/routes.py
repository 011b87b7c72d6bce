"""Routing: the specification's endpoints and its grammar of names.

The grammar is narrow enough that a name is a path in a storage as it stands: no component can be ``..``, be empty, or
begin with the underscore that the storage's own names begin with.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import unquote

from wherry.errors import InvalidInput
from wherry.oci.digest import Digest
from wherry.registry.server.errors import Refusal

__all__ = ["MAX_NAME", "Target", "digest", "is_tag", "repository", "target"]

MAX_NAME: Final = 255

_COMPONENT: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME: Final = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*", re.ASCII)
_TAG: Final = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", re.ASCII)
#: The last of these words decides: a repository may be called "a/manifests/b".
_IN_REPOSITORY: Final = re.compile(
    r"/v2/(?P<name>.+)/(?:(?P<uploads>blobs/uploads/)(?P<session>[^/]*)|(?P<kind>manifests|blobs|referrers)/(?P<what>[^/]+)"
    r"|(?P<tags>tags/list))",
    re.DOTALL,
)
_FIXED: Final = {"/v2/": "base", "/v2": "base", "/v2/_catalog": "catalog", "/token": "token"}


class Target(NamedTuple):
    """An endpoint and its parameters."""

    kind: str  #: base, catalog, token, manifests, blobs, uploads, session, tags, referrers
    name: str = ""  #: the repository
    what: str = ""  #: a tag, a digest, or a session


def target(raw_path: str) -> Target | None:
    """The target of a path; None for an unknown path.

    :param raw_path: as it came, percent-encoding included, without the query.
    :raises Refusal: a repository of a name that there cannot be.
    """
    kind = _FIXED.get(raw_path)
    if kind:
        return Target(kind)
    match = _IN_REPOSITORY.fullmatch(unquote(raw_path) if "%" in raw_path else raw_path)
    if match is None:
        return None
    name = repository(match["name"])
    if match["tags"]:
        return Target("tags", name)
    if match["uploads"]:
        return Target("session", name, match["session"]) if match["session"] else Target("uploads", name)
    if match["kind"] == "blobs" and match["what"] == "uploads":
        return Target("uploads", name)
    return Target(match["kind"], name, match["what"])


def repository(name: str) -> str:
    """Check the name of a repository.

    :raises Refusal: it is none.
    """
    if len(name) > MAX_NAME or not _NAME.fullmatch(name):
        raise Refusal("NAME_INVALID", "invalid repository name", {"name": name[:MAX_NAME]})
    return name


def is_tag(text: str) -> bool:
    """Whether this can be a tag."""
    return _TAG.fullmatch(text) is not None


def digest(text: str) -> Digest:
    """Read a digest.

    :raises Refusal: it is none, or of an algorithm that is not known here.
    """
    try:
        return Digest(text)
    except InvalidInput as error:
        raise Refusal("DIGEST_INVALID", str(error), {"digest": text[:MAX_NAME]}) from error
