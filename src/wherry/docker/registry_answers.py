"""Answers of the Engine API about what registries have: SystemAuth, DistributionInspect and ImageSearch."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from wherry.oci.manifest import Descriptor, DescriptorPlatform

__all__ = ["AuthStatus", "DistributionInspect", "ListedImage", "NewIndex", "RemoteDocuments", "SearchHit"]


class AuthStatus(Struct, rename="pascal", kw_only=True):
    """The body of SystemAuth.

    :ivar identity_token: what a client may show from now on in place of the password.
    """

    status: str
    identity_token: str | UnsetType = UNSET


class DistributionInspect(Struct, rename="pascal", kw_only=True):
    """The body of DistributionInspect."""

    descriptor: Descriptor
    platforms: list[DescriptorPlatform]


class SearchHit(Struct, kw_only=True):
    """One element of the body of ImageSearch; the names of its members are in small letters."""

    name: str
    description: str = ""
    star_count: int = 0
    is_official: bool = False
    is_automated: bool = False


class RemoteDocuments(Struct, rename="pascal", kw_only=True):
    """What a registry has under a name: an answer of wherry's own. Documents are shown as the registry has them.

    :ivar document: what the name stands for, a manifest or an index.
    :ivar manifest: the one that was chosen from an index, else the same.
    :ivar referrers: what refers to it; left out unless it was asked for.
    :ivar local: the digests of the layers that are stored here.
    """

    name: str
    digest: str
    media_type: str
    size: int
    document: dict[str, Any]
    referrers: list[dict[str, Any]] | UnsetType = UNSET
    manifest_digest: str
    manifest: dict[str, Any]
    config: dict[str, Any]
    local: list[str]


class ListedImage(Struct, rename="pascal", kw_only=True):
    """An image that is to be in an index.

    :ivar reference: its name at the registry, with its digest.
    :ivar platform: as the index is to have it.
    """

    reference: str
    platform: DescriptorPlatform


class NewIndex(Struct, rename="pascal", kw_only=True):
    """The body of a request of wherry's own, which makes an index of images that a registry has."""

    manifests: list[ListedImage]
