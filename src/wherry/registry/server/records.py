"""The keys and the content of a registry's records in its storage.

::

    blobs/<algorithm>/<hex>                                       bytes, whichever repositories they belong to
    condemned/<algorithm>/<hex>                                   about to be removed; see `collect`
    keys/token                                                    what signs tokens
    catalog/<name>/_repository                                    there is such a repository
    repositories/<name>/_blobs/<algorithm>/<hex>                  this repository has the blob: its size
    repositories/<name>/_manifests/<algorithm>/<hex>              this repository has the manifest: ManifestRecord
    repositories/<name>/_tags/<tag>                               a digest
    repositories/<name>/_referrers/<algorithm>/<hex>/<algorithm>-<hex>   what refers to the first: its descriptor

The size is written down so that a file that lost its bytes in a power cut is known for what it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from wherry.errors import InvalidInput
from wherry.oci.codec import decode
from wherry.oci.digest import Digest
from wherry.oci.manifest import Size

if TYPE_CHECKING:
    from wherry.registry.storage.contract import Entry

__all__ = [
    "CATALOG",
    "CONDEMNED",
    "SECRET",
    "ManifestRecord",
    "blob_link",
    "blob_links",
    "catalog_key",
    "condemned_key",
    "digest_of",
    "manifest_key",
    "manifests",
    "read_record",
    "referrer_key",
    "referrers",
    "tag_key",
    "tags",
]

CATALOG: Final = "catalog/"
CONDEMNED: Final = "condemned/"
SECRET: Final = "keys/token"
_REPOSITORIES: Final = "repositories/"


class ManifestRecord(msgspec.Struct, frozen=True, rename="camel"):
    """Media type and size of a manifest."""

    media_type: str
    size: Size


def _path(digest: str) -> str:
    return digest.replace(":", "/")


def blob_links(name: str) -> str:
    """The prefix of a repository's blobs."""
    return f"{_REPOSITORIES}{name}/_blobs/"


def blob_link(name: str, digest: str) -> str:
    """The record that a repository has a blob."""
    return blob_links(name) + _path(digest)


def manifests(name: str) -> str:
    """The prefix of a repository's manifests."""
    return f"{_REPOSITORIES}{name}/_manifests/"


def manifest_key(name: str, digest: str) -> str:
    """The record that a repository has a manifest."""
    return manifests(name) + _path(digest)


def tags(name: str) -> str:
    """The prefix of a repository's tags."""
    return f"{_REPOSITORIES}{name}/_tags/"


def tag_key(name: str, tag: str) -> str:
    """The key of a tag."""
    return tags(name) + tag


def referrers(name: str, subject: str) -> str:
    """The key prefix of a manifest's referrers."""
    return f"{_REPOSITORIES}{name}/_referrers/{_path(subject)}/"


def referrer_key(name: str, subject: str, digest: str) -> str:
    """That one manifest refers to another."""
    return referrers(name, subject) + digest.replace(":", "-")


def catalog_key(name: str) -> str:
    """That there is a repository."""
    return f"{CATALOG}{name}/_repository"


def condemned_key(digest: str) -> str:
    """That a blob is about to be removed."""
    return CONDEMNED + _path(digest)


def digest_of(entry: Entry) -> Digest | None:
    """The digest that a key ends with; None when it does not."""
    algorithm, _, hexadecimal = entry.key.rpartition("/")
    try:
        return Digest(f"{algorithm.rpartition('/')[2]}:{hexadecimal}")
    except InvalidInput:
        return None


def read_record(data: bytes) -> ManifestRecord | None:
    """A manifest's record; None when a power cut left none."""
    try:
        return decode(data, ManifestRecord, "manifest record")
    except InvalidInput:
        return None
