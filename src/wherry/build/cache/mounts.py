"""Cache mounts: directories that steps share from build to build, and how they are known.

They are directories of the builder (`KeptDirectories`), by an identifier, a platform, and what they first held. None of
that is in a step's key: what a cache mount holds may make a step faster, and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from wherry.build.model.graph import Cache
from wherry.oci.digest import Digest
from wherry.oci.platform import Platform

__all__ = ["MOUNT_KIND", "CacheMount", "mount_key"]

#: The kind of their directories.
MOUNT_KIND: Final = "exec.cachemount"
_LONGEST_KEY: Final = 1000


@dataclass(frozen=True, slots=True)
class CacheMount:
    """A cache mount of a step.

    :param key: by which its directory is known here.
    :param pure: by which it is known elsewhere: as if nothing had been imported.
    """

    id: str
    key: str
    pure: str


def mount_key(kind: Cache, platform: Platform | None, content: str) -> str:
    """By what a cache mount is known.

    :param content: the identity of what it first holds; empty: nothing.
    """
    key = f"{kind.id} {platform or Platform.host()} {content}".rstrip()
    if len(key) > _LONGEST_KEY:
        return str.__str__(Digest.from_bytes(key.encode(errors="surrogatepass")))
    return key
