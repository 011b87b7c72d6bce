"""An image as rows of a table: one for each of its names."""

from __future__ import annotations

from wherry.cli.output.times import ago, local_time
from wherry.docker.reference import split
from wherry.docker.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

__all__ = ["image_rows", "short_id"]

NONE = "<none>"


def short_id(identifier: str, *, short: bool = True) -> str:
    """``sha256:0123...`` as twelve digits."""
    return identifier.removeprefix("sha256:")[:12] if short else identifier


def image_rows(one: dict[str, Any], *, short: bool, digests: bool) -> Iterator[dict[str, Any]]:
    """Make rows of one of the API's image summaries.

    :param short: truncate IDs.
    :param digests: a row for each digest of a name.
    """
    names = _names(one, digests=digests) or [(NONE, NONE, NONE)]
    for repository, tag, digest in names:
        yield {
            "Repository": repository,
            "Tag": tag,
            "Digest": digest,
            "ID": short_id(one["Id"], short=short),
            "CreatedSince": ago(one["Created"]) if one["Created"] > 0 else "N/A",
            "CreatedAt": local_time(one["Created"]),
            "Size": human_size(one["Size"]),
            "Containers": _count(one.get("Containers", -1)),
            "SharedSize": _maybe_size(one.get("SharedSize", -1)),
            "UniqueSize": _unique(one),
            "VirtualSize": human_size(one["Size"], 4),
        }


def _count(number: int) -> str:
    return "N/A" if number == -1 else str(number)


def _maybe_size(size: int) -> str:
    return "N/A" if size == -1 else human_size(size, 4)


def _unique(one: dict[str, Any]) -> str:
    shared = one.get("SharedSize", -1)
    return "N/A" if shared == -1 else human_size(one["Size"] - shared, 4)


def _names(one: dict[str, Any], *, digests: bool) -> list[tuple[str, str, str]]:
    tags: dict[str, list[str]] = {}
    sums: dict[str, list[str]] = {}
    for text in one.get("RepoTags") or ():
        repository, tag, _ = split(text)
        if repository != NONE:
            tags.setdefault(repository, []).append(tag)
    for text in one.get("RepoDigests") or ():
        repository, _, digest = split(text)
        if repository != NONE:
            sums.setdefault(repository, []).append(digest)
    result = []
    for repository, known in tags.items():
        own = sums.pop(repository, []) if digests else []
        result += [(repository, tag, digest) for tag in known for digest in own or [NONE]]
    if digests:
        result += [(repository, NONE, digest) for repository, own in sums.items() for digest in own]
    elif not result:
        result += [(repository, NONE, NONE) for repository in sums]
    return result
