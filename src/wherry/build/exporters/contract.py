"""What an exporter gets, and what it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from wherry.build.model.progress import ProgressSink
from wherry.build.model.request import BuildRequest, Export, FrontResult
from wherry.build.model.session import BuildSession
from wherry.build.model.snapshot import Snapshot
from wherry.oci.digest import Digest

__all__ = ["Exporter", "Product"]


@dataclass(frozen=True, kw_only=True)
class Product:
    """A build's finished result.

    :param snapshots: by the keys of the result's refs.
    :param vertex: under which the exporter shows its progress.
    :param started: of the build; nanoseconds since the epoch.
    """

    request: BuildRequest
    result: FrontResult
    snapshots: Mapping[str, Snapshot]
    session: BuildSession
    progress: ProgressSink
    vertex: Digest
    started: int


class Exporter(Protocol):
    """Brings a product where it is wanted."""

    async def export(self, product: Product, export: Export) -> dict[str, str]:
        """Export; returns what the client is told, in BuildKit's names: ``containerimage.digest``.

        :raises InvalidInput: an option makes no sense.
        """
        ...
