"""All exporters, by the types that clients call them by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from wherry.build.exporters.archive import ArchiveExporter
from wherry.build.exporters.assembly import Assembler
from wherry.build.exporters.attestations import Attestations
from wherry.build.exporters.contract import Exporter, Layers, Registries
from wherry.build.exporters.image import ImageExporter
from wherry.build.exporters.tree import LocalExporter, Mount, TarExporter
from wherry.build.model.request import Export
from wherry.content.threads import Worker
from wherry.errors import InvalidInput
from wherry.images.store import ImageStore

__all__ = ["Exporters", "title_of"]

_TITLES: Final = {
    "moby": "exporting to image", "image": "exporting to image", "oci": "exporting to oci image format",
    "docker": "exporting to docker image format", "tar": "exporting to client tarball",
    "local": "exporting to client directory",
}  # fmt: skip


def title_of(export: Export) -> str:
    """What an export is called where it is shown; BuildKit's words."""
    return _TITLES.get(export.type, f"exporting to {export.type}")


class Exporters:
    """The exporters of one engine. To be made, used and closed on one event loop.

    :param layers: gives snapshots' blobs.
    :param mount: mounts a snapshot, to be read.
    :param tagged: told of each name that an image gets: the image's ID, and the name as people write it.
    """

    def __init__(
        self,
        store: ImageStore,
        *,
        layers: Layers,
        mount: Mount,
        registries: Registries,
        tagged: Callable[[str, str], None],
    ) -> None:
        self._worker = Worker(name="export")
        attest = Attestations(self._worker)
        assembler = Assembler(store, layers, self._worker)
        image = ImageExporter(assembler, registries, attest, tagged)
        self.by_type: Final[Mapping[str, Exporter]] = {
            "moby": image,
            "image": image,
            "oci": ArchiveExporter(assembler, attest, docker=False),
            "docker": ArchiveExporter(assembler, attest, docker=True),
            "tar": TarExporter(),
            "local": LocalExporter(mount, self._worker),
        }

    def of(self, export: Export) -> Exporter:
        """The exporter of an export's type.

        :raises InvalidInput: there is none.
        """
        try:
            return self.by_type[export.type]
        except KeyError:
            raise InvalidInput(f"exporter {export.type[:100]!r} could not be found") from None

    def close(self) -> None:
        """End the threads."""
        self._worker.close()
