"""Volumes to registries, and from there: pushed and pulled as images are, with their credentials and messages."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Protocol

from wherry.docker.progress import ProgressMessage
from wherry.volumes.artifact import describe, packed_of

if TYPE_CHECKING:
    from wherry.distribution.transfer.artifacts import Choose, Take
    from wherry.docker.volume_copies import SnapshotRequest
    from wherry.engine.events import EventBus
    from wherry.engine.volumes.copies import VolumeCopies
    from wherry.oci.digest import Digest
    from wherry.oci.manifest import Descriptor, Manifest

__all__ = ["Registries", "VolumeArtifacts"]


class Registries(Protocol):
    """Moves artifacts (`wherry.engine.images.transfers.Distribution`); ``auth`` is the header ``X-Registry-Auth``."""

    def push_artifact(
        self,
        reference: str,
        auth: str,
        name: str,
        content: Callable[[], AsyncGenerator[bytes, None]],
        describe: Callable[[tuple[Digest, int, int]], Manifest],
    ) -> AsyncGenerator[ProgressMessage, None]:
        """Push bytes, and the manifest that is made for them; yields what happens."""

    def pull_artifact(self, reference: str, auth: str, choose: Choose) -> AsyncGenerator[ProgressMessage, None]:
        """Fetch the blob that is chosen from a manifest, and have it taken; yields what happens."""


class VolumeArtifacts:
    """Pushes and pulls volumes."""

    def __init__(self, copies: VolumeCopies, registries: Registries, events: EventBus) -> None:
        self._copies = copies
        self._registries = registries
        self._events = events

    async def push(self, name: str, reference: str, auth: str) -> AsyncGenerator[ProgressMessage, None]:
        """Push a volume's files, or a snapshot's, and yield dockerd's messages; to be closed.

        Of a volume that is written to, as they are in passing.

        :raises NotFound: there is no such volume, or snapshot.
        """
        content = self._copies.content(name)
        about = partial(describe, content.volume, content.snapshot, content.created)
        pushed = self._registries.push_artifact(reference, auth, name, content.archive, about)
        async with aclosing(pushed) as messages:
            async for message in messages:
                yield message
        self._publish("push", content.volume, reference)

    async def pull(self, reference: str, request: SnapshotRequest, auth: str) -> AsyncGenerator[ProgressMessage, None]:
        """Make a new volume of what was pushed, and yield dockerd's messages; to be closed.

        :param request: its name and labels.
        :raises Conflict: there is a volume of this name.
        :raises InvalidInput: something else than a volume is there.
        """
        self._copies.check_new(request)

        def choose(document: bytes) -> tuple[Descriptor, int, Take]:
            packed = packed_of(document, reference)
            return packed.blob, packed.size or 0, partial(self._copies.import_, request=request, limits=packed.limits)

        async with aclosing(self._registries.pull_artifact(reference, auth, choose)) as messages:
            async for message in messages:
                yield message
        self._publish("pull", request.name, reference)
        yield {"status": f"Status: Made volume {request.name} of {reference}"}

    def _publish(self, action: str, name: str, reference: str) -> None:
        self._events.publish("volume", action, name, {"reference": reference})
