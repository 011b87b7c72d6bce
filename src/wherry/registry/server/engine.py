"""A local engine whose blobs are linked instead of uploaded, and the callers that may do so.

To know a digest is no right to the bytes. What the engine has belongs to a repository here if somebody who commands
the engine has said so, by giving the image a name in it (``docker tag app 127.0.0.1:5000/team/app``); then whoever may
push there gets it. The names are in the engine's ``index.json`` (OCI image specification, image-layout.md).
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from typing import TYPE_CHECKING, Final

from yarl import URL

from wherry.errors import InvalidInput
from wherry.oci.codec import decode
from wherry.oci.manifest import Index, parse_manifest_or_index
from wherry.registry.server.catalog import references

if TYPE_CHECKING:
    from pathlib import Path

    from wherry.oci.digest import Digest
    from wherry.oci.manifest import Descriptor
    from wherry.registry.server.call import Call

__all__ = ["Engine", "addresses"]

_NAME: Final = "io.containerd.image.name"


class Engine:
    """An engine's content store.

    :param content: ``<data-root>/content``.
    :param public_url: how clients call this registry, if it knows.
    """

    def __init__(self, content: Path, public_url: str = "") -> None:
        self._content = content
        self._lock = threading.Lock()  # requests look from several threads
        self._public = URL(public_url).authority if public_url else ""
        self._read_at: tuple[int, int] = (0, 0)
        self._manifests: dict[str, list[Descriptor]] = {}
        self._blobs: dict[str, frozenset[Digest]] = {}

    async def gives(self, call: Call, digest: Digest) -> bool:
        """Whether an image of the engine's has this blob, and a name in the repository that a request is about."""
        hosts = addresses(call.request.get_extra_info("sockname")) | ({self._public} - {""})
        return await asyncio.to_thread(self._has, [f"{host}/{call.name}" for host in hosts], digest)

    def _has(self, repositories: list[str], digest: Digest) -> bool:
        with self._lock:
            self._refresh()
            return any(digest in self._blobs_of(repository) for repository in repositories)

    def _refresh(self) -> None:
        path = self._content / "index.json"
        try:
            found = path.stat()
            stamp = (found.st_mtime_ns, found.st_ino)
            if stamp == self._read_at:
                return
            index = decode(path.read_bytes(), Index, "index.json")
        except (OSError, InvalidInput):
            index, stamp = Index([]), (0, 0)
        named: dict[str, list[Descriptor]] = {}
        for entry in index.manifests:
            name = (entry.annotations or {}).get(_NAME, "")
            named.setdefault(name.rpartition(":")[0], []).append(entry)
        self._manifests, self._blobs, self._read_at = named, {}, stamp

    def _blobs_of(self, repository: str) -> frozenset[Digest]:
        if repository not in self._manifests:
            return frozenset()
        if repository not in self._blobs:
            found: set[Digest] = set()
            for entry in self._manifests[repository]:
                try:
                    path = self._content / "blobs" / entry.digest.replace(":", "/")
                    found.update(references(parse_manifest_or_index(path.read_bytes()))[0])
                except (OSError, InvalidInput):
                    continue  # removed meanwhile, or damaged
            self._blobs[repository] = frozenset(found)
        return self._blobs[repository]


def addresses(own: object) -> set[str]:
    """The domains by which a client of a connection may name the registry in image references.

    It is not the header ``Host``: the client says that.

    :param own: getsockname(2).
    """
    if not isinstance(own, tuple) or len(own) < 2:
        return set()
    address = ipaddress.ip_address(str(own[0]).partition("%")[0])
    address = getattr(address, "ipv4_mapped", None) or address
    hosts = {f"[{address}]" if address.version == 6 else str(address), socket.gethostname()}
    if address.is_loopback:
        hosts |= {"localhost", "127.0.0.1", "[::1]"}
    return {f"{host}:{own[1]}" for host in hosts}
