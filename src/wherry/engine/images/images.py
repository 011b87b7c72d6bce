"""The images service: the image store, with its events and with containers that keep images in use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

from wherry.content.thread_stream import pieces_of
from wherry.docker.container_answers import FilesystemChange
from wherry.docker.explain_answers import RootLayer
from wherry.docker.filters import Filters, check_prune
from wherry.docker.image_answers import ImageDeleted, ImageInspect, ImagesPruneReport, ImagesUsage, Listing, Steps
from wherry.docker.progress import ProgressMessage
from wherry.docker.reference import Reference
from wherry.engine.container.container import Container
from wherry.engine.container.names import short
from wherry.engine.container.store import ContainerStore
from wherry.engine.events import EventBus
from wherry.engine.images.labels import labels_of
from wherry.errors import NotFound
from wherry.images import disk_usage
from wherry.images.image import Image
from wherry.images.importer import Commit, WriteLayer
from wherry.images.store import ImageStore
from wherry.layers.diff import changes
from wherry.layers.export import export
from wherry.layers.overlay_paths import OverlayMount
from wherry.layers.source import Reader
from wherry.layers.store import EMPTY_LAYER
from wherry.oci.digest import Digest
from wherry.oci.platform import Platform

__all__ = ["Images"]

Removed = list[ImageDeleted]  # `list` is a method below
Changes = list[FilesystemChange]
RootLayers = list[RootLayer]
Words = list[str]
Overlay = list[OverlayMount]
Paths = list[Path]


class Images:
    """The image store, with events; images that containers use are protected.

    Methods without ``async`` are quick, unless they say that they are to be called in a thread.
    """

    def __init__(self, store: ImageStore, containers: ContainerStore, events: EventBus) -> None:
        self._store = store
        self._containers = containers
        self._events = events
        self._loop = asyncio.get_running_loop()

    @property
    def store(self) -> ImageStore:
        """The store itself."""
        return self._store

    def _users(self, image: Digest) -> list[str]:
        return self._containers.users_of(str(image))

    def _runs(self, container: str) -> bool:
        found = self._containers.find(container)
        return found is not None and found.state.is_alive

    async def reconcile(self) -> None:
        """Bring the store in step with itself and the host, at the start of an engine."""
        await asyncio.to_thread(self._store.reconcile, self._users, sweep=False)

    async def release(self, container: Container) -> None:
        """A container was removed: release its image if that was removed by force before."""
        mounted = (point.source for point in container.definition.mounts if point.kind == "image")
        for identifier in (container.definition.image_id, *mounted):
            try:
                image = self._store.get(identifier)
            except NotFound:
                continue  # its last container was removed in the same moment
            if image.removed and not self._users(image.id):
                await asyncio.to_thread(self._store.release, self._users)

    # --- look-ups: quick --------------------------------------------------------------------------

    def list(self, filters: Filters, *, all: bool, shared_size: bool, digests: bool) -> Listing:
        """Summaries, the newest first; the body of ImageList."""
        users = self._containers.users_by_image()
        return self._store.summaries(filters, shared_size=shared_size, in_use=lambda image: users(str(image)))

    def names_of(self, identifier: str) -> Words:
        """The names that an image has, in the form in which people write them."""
        return self._store.names_of(identifier)

    async def look_up_names(self, identifiers: Iterable[str]) -> None:
        """Have `names_of` know the names of images that are parts of an index as well."""
        variants = self._store.variants
        if not variants.knows_parts() and not all(self.names_of(one) for one in identifiers):
            await asyncio.to_thread(variants.look_up_parts)

    def id_of(self, name: str) -> str:
        """The ID of an image by any of its names, or an empty string."""
        return self._store.id_of(name)

    # --- what reads the disk ----------------------------------------------------------------------

    async def inspect(self, name: str, *, manifests: bool = False, platform: str = "") -> ImageInspect:
        """The body of ImageInspect; with `manifests`, what its index lists as well, which may be thousands."""
        look = partial(self._store.inspect, manifests=manifests, platform=platform)
        return await asyncio.to_thread(look, name)

    async def history(self, name: str, platform: str = "") -> Steps:
        """The body of ImageHistory."""
        if not platform:
            return self._store.history(name)
        return await asyncio.to_thread(self._store.history, name, platform)

    async def for_platform(self, name: str, wanted: Platform | None) -> str:
        """What a name means for a platform: a name or an ID of what is unpacked, then at the latest.

        :param wanted: None: whatever suits this machine best; something else where there is no such thing.
        :raises NotFound: there is no such image, or none for the platform.
        """
        image = self._store.resolve(name)
        platform = wanted or Platform.host()
        if image.built_in or not image.architecture or image.platform.normalised() == platform.normalised():
            return name
        with suppress(NotFound) if wanted is None else nullcontext():
            return str(await asyncio.to_thread(self._store.variants.unpacked, name, platform))
        return name

    async def check_selection(self, names: Sequence[str], platforms: Sequence[str]) -> None:
        """Raise where `save` would."""
        await asyncio.to_thread(self._store.selected, names, platforms)

    # --- changes ----------------------------------------------------------------------------------

    async def tag(self, name: str, repository: str, tag: str) -> None:
        """Give an image one more name."""
        image = self._store.resolve(name)
        target = f"{repository}:{tag}" if tag else repository
        await asyncio.to_thread(self._store.tag, name, target)
        self._publish("tag", str(image.id), Reference.parse(target).familiar)

    async def commit(self, base: str, write: WriteLayer, commit: Commit) -> str:
        """Make an image of another one and a layer on top of it, and return its ID."""
        identifier = str(await asyncio.to_thread(self._store.commit, base, write, commit))
        if commit.name:
            self._publish("tag", identifier, Reference.parse(commit.name).with_default_tag().familiar)
        return identifier

    async def remove(self, name: str, *, force: bool, prune: bool, platforms: Sequence[str] = ()) -> Removed:
        """Remove a name, and with the last name the image; the body of ImageDelete.

        :param platforms: only what is for these.
        :raises NotFound: there is no such image, or nothing of it for one of the platforms.
        :raises Conflict: something else needs it.
        """
        images = [self._store.resolve(name), *(self._store.list() if platforms else ())]
        remove = partial(self._store.remove, force=force, platforms=platforms)
        removed = await asyncio.to_thread(remove, name, in_use=self._users, running=self._runs)
        self._publish_removed(removed, images)
        return removed

    async def prune(self, filters: Filters) -> ImagesPruneReport:
        """Remove unused images; the body of ImagePrune."""
        check_prune(filters, "dangling")
        images = self._store.list()
        result = await asyncio.to_thread(self._store.prune, filters, in_use=self._users)
        self._publish_removed(result.images_deleted or (), images)
        self._events.publish("image", "prune", "", {"reclaimed": str(result.space_reclaimed)})
        return result

    # --- archives: to be called in a thread -------------------------------------------------------

    def load(self, stream: BinaryIO, platforms: Sequence[str]) -> Generator[ProgressMessage, None, None]:
        """Load an archive and yield progress messages; in a thread."""
        for step in self._store.load(stream, platforms):
            text = step.get("stream", "")
            if text.startswith("Loaded image"):
                name = text.partition(": ")[2].strip()
                self._publish_later("load", self._store.id_of(name) or name, name)
            yield step

    def save(self, names: Sequence[str], write: Callable[[bytes], object], platforms: Sequence[str]) -> None:
        """Write an archive of images; in a thread."""
        images = [image for image, _ in self._store.selected(names, platforms).values()]
        self._store.save(names, write, platforms)
        for image in images:
            self._publish_later("save", str(image.id))

    def import_(self, stream: Reader, name: str, changes: Sequence[str], message: str, platform: str) -> str:
        """Make an image of a root file system's archive and return its ID; in a thread."""
        identifier = str(self._store.import_(stream, name, changes, message, platform))
        if name:
            self._publish_later("tag", identifier, Reference.parse(name).with_default_tag().familiar)
        self._publish_later("import", identifier, name)
        return identifier

    def import_from(
        self, url: str, name: str, changes: Sequence[str], message: str, platform: str
    ) -> Generator[ProgressMessage, None, None]:
        """Import an archive from a URL and yield progress messages; in a thread."""
        from wherry.images import remote_archive  # noqa: PLC0415 - an HTTP client, only when needed

        with remote_archive.opened(url) as stream:
            yield {"status": f"Downloading from {url}"}
            comment = message or f"Imported from {url}"
            yield {"status": self.import_(stream, name, changes, comment, platform)}

    # --- the rest ---------------------------------------------------------------------------------

    def was_tagged(self, identifier: str, name: str) -> None:
        """A build has given an image a name."""
        self._publish("tag", identifier, name)

    def overlay(self, container: Container) -> Overlay:
        """The overlay mounts that are a container's root; the writable directories are made if they are missing."""
        return self._store.overlay(container.definition.image_id, container.directory)

    def layers_to_mount(self, identifier: str) -> tuple[str, ...]:
        """The directories of an image, top first, as many as an overlay without a writable one needs.

        :raises NotFound: there is no such image.
        """
        lower = self._store.get(identifier).overlay(Path("/"))[0].lower
        return lower if len(lower) > 1 else (*lower, str(self._store.layers.root / EMPTY_LAYER))

    def changes(self, container: Container) -> Changes:
        """What a container changed in its root; the body of ContainerChanges. Reads the disk: in a thread."""
        return [FilesystemChange(change.path, change.kind) for change in changes(self.overlay(container))]

    def export(self, container: Container) -> AsyncGenerator[bytes, None]:
        """A container's root as a tar archive."""
        mounts = self.overlay(container)
        return pieces_of(lambda write: export(mounts, write))

    def uppers(self, container: Container) -> Paths:
        """The upper directories of a container's overlay mounts."""
        return [Path(mount.upper) for mount in self.overlay(container)]

    def count(self) -> int:
        """The number of images."""
        return len(self._store)

    def size_of(self, identifier: str) -> int:
        """The bytes of an image's files."""
        return self._store.get(identifier).size

    def disk_usage(self) -> ImagesUsage:
        """Disk usage of images; in a thread."""
        return disk_usage.report(self._store, self._users)

    def layers_of(self, container: Container) -> RootLayers:
        """The layers of a container's image, the lowest last."""
        found = [
            RootLayer(chain_id=str(layer.chain_id), diff_id=str(layer.diff_id), size=layer.size,
                      path=str(self._store.layers.path(layer)))
            for layer in self._store.layers_of(container.definition.image_id)
        ]  # fmt: skip
        return found[::-1]

    def _publish(self, action: str, identifier: str, name: str = "", labels: Mapping[str, str] | None = None) -> None:
        """As in Docker, with the labels of the image, for who filters by them.

        :param labels: None: of the image that is there.
        """
        found = labels_of(self._store, identifier) if labels is None else labels
        self._events.publish("image", action, identifier, {**found, "name": name or short(identifier)})

    def _publish_removed(self, records: Iterable[ImageDeleted], images: Sequence[Image]) -> None:
        """Tell of what went: names and images, but not layers, by the IDs of the images, as Docker does.

        :param images: as they were before.
        """
        owners = {name.familiar: image for image in images for name in image.names}
        known = {str(image.id) for image in images}
        for record in records:
            name, gone = record.untagged, record.deleted
            if name:
                owner = owners.get(name)
                self._publish("untag", str(owner.id) if owner else name, name, owner.labels if owner else {})
            elif gone in known:
                self._publish("delete", str(gone), str(gone), {})

    def _publish_later(self, action: str, identifier: str, name: str = "") -> None:
        """From a thread."""
        self._loop.call_soon_threadsafe(self._publish, action, identifier, name or identifier)
