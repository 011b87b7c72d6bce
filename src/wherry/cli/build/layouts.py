"""``--build-context NAME=oci-layout://DIR``: OCI layouts of this side; a build may ask for their blobs alone."""

from __future__ import annotations

import os
import re

from wherry.cli.exit import Exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Blobs", "Layout", "digest_of"]

_SCHEME = "oci-layout://"
_CHUNK = 1 << 18
_MOST = 4 << 20  #: bytes of index.json
_DIGEST = re.compile(r"sha(?:256:[0-9a-f]{64}|512:[0-9a-f]{128})")
_NAME = "org.opencontainers.image.ref.name"


class Blobs:
    """The blobs of an OCI layout.

    :ivar root: the directory.
    """

    root = ""

    def path(self, digest: str) -> str:
        """Where a blob is, or would be.

        :raises wherry.cli.exit.Exit: that is no digest.
        """
        if not _DIGEST.fullmatch(digest):
            raise Exit(1, f"the daemon asks for a blob that cannot be: {digest[:80]!r}")
        algorithm, _, name = digest.partition(":")
        return os.path.join(self.root, "blobs", algorithm, name)

    def blob(self, digest: str) -> Iterator[bytes]:
        """A blob's bytes.

        :raises wherry.cli.exit.Exit: it is not in the layout.
        """
        try:
            with open(self.path(digest), "rb") as file:
                while piece := file.read(_CHUNK):
                    yield piece
        except OSError as error:
            reason = os.strerror(error.errno or 0).lower()
            raise Exit(1, f"cannot read the blob {digest} of the OCI layout {self.root}: {reason}") from error


class Layout(Blobs):
    """One image of an OCI layout.

    :ivar image: ``TAG@DIGEST``, as the daemon is told.
    :param value: ``oci-layout://DIR[:TAG][@DIGEST]``; without a digest, the tag (``latest``) is looked up.
    :raises wherry.cli.exit.Exit: there is no such directory, or no such image in it.
    """

    def __init__(self, value: str) -> None:
        place, _, digest = value.removeprefix(_SCHEME).partition("@")
        self.root, _, tag = place.partition(":")
        tag = tag or "latest"
        digest = digest or digest_of(self.root, tag, value)
        if not _DIGEST.fullmatch(digest):
            raise Exit(1, f"{value} could not be resolved: the layout has no {digest or tag}")
        self.image = f"{tag}@{digest}"


def digest_of(root: str, tag: str, value: str) -> str:
    """The digest that a tag has in a layout's index; empty: none."""
    from wherry.client.codec import decode

    try:
        with open(os.path.join(root, "index.json"), "rb") as file:
            index = decode(file.read(_MOST))
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise Exit(1, f"{value} could not be resolved: {root}/index.json: {reason}") from error
    except ValueError as error:
        raise Exit(1, f"{value} could not be resolved: {root}/index.json is no index") from error
    listed = index.get("manifests") if isinstance(index, dict) else None
    for entry in listed if isinstance(listed, list) else []:
        notes = entry.get("annotations") if isinstance(entry, dict) else None
        if isinstance(notes, dict) and notes.get(_NAME) == tag:
            return str(entry.get("digest", ""))
    return ""
