"""Disk usage by owner, shared layers, differences of images, and the integrity check (``fsck``)."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any

from wherry.engine.container.store import ContainerStore
from wherry.engine.disk.ledger import Ledger
from wherry.images.store import ImageStore
from wherry.layers.store import Layer

if TYPE_CHECKING:
    from wherry.images.fsck import Refetch

__all__ = ["DiskChecks"]

Json = dict[str, Any]
Jsons = list[Json]


class DiskChecks:
    """Disk usage by owner, shared layers, and integrity checks. All methods read the disk: call them in a thread.

    :param refetch: fetches a blob from where it came from.
    """

    def __init__(
        self,
        store: ImageStore,
        containers: ContainerStore,
        ledger: Ledger,
        refetch: Refetch,
    ) -> None:
        self._store = store
        self._containers = containers
        self._ledger = ledger
        self._refetch = refetch

    def accounts(self) -> Json:
        """Bytes under the data root by owner, and orphans."""
        return self._ledger.report()

    def sharing(self) -> Json:
        """All images with their layers, all layers with their images."""
        return self._store.sharing()

    def layer_steps(self, name: str) -> Jsons:
        """An image's layers, with what each one adds, replaces and deletes."""
        return self._store.layer_steps(name)

    def differences(self, first: str, second: str) -> Jsons:
        """The differences of two images, file by file."""
        return self._store.differences(first, second)

    def check(self, *, repair: bool) -> Generator[Json, None, None]:
        """Compare everything with its digest or tree digest; yield one record for each, then a summary.

        :param repair: also repair what is damaged, and remove orphans.
        """
        from wherry.images.fsck import Verdict  # noqa: PLC0415 - only when needed

        counted: Mapping[Verdict, int] = dict.fromkeys(Verdict, 0)
        total = 0
        for finding in self._store.check(busy=self._running_on, refetch=self._refetch if repair else None):
            counted = {**counted, finding.verdict: counted[finding.verdict] + 1}
            total += finding.size
            yield {
                "Kind": str(finding.kind), "Name": str(finding.name), "Verdict": str(finding.verdict),
                "Bytes": finding.size, "Images": list(finding.images), "Why": finding.why, "Hint": finding.hint,
            }  # fmt: skip
        orphans = self._ledger.report()["Orphans"]
        if repair and orphans:
            self._store.remove_orphans()
            self._ledger.remove_orphaned_containers()
            orphans = self._ledger.report()["Orphans"]
        summary = {str(verdict).capitalize(): count for verdict, count in counted.items()}
        yield {"Summary": {**summary, "Bytes": total, "Orphans": orphans}}

    def _running_on(self, layer: Layer) -> list[str]:
        """The containers that run on a layer, or are about to."""
        alive = [one for one in self._containers if one.state.is_alive or one.restart is not None]
        return [one.id for one in alive if layer in self._store.get(one.definition.image_id).layers]
