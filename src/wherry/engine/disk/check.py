"""Disk usage by owner, shared layers, differences of images, and the integrity check (``fsck``)."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING

from wherry.docker.storage_answers import (
    Accounts,
    CheckSummary,
    CheckTotals,
    Finding,
    ImageDifference,
    LayerStep,
    Sharing,
)
from wherry.engine.container.store import ContainerStore
from wherry.engine.disk.ledger import Ledger
from wherry.images.store import ImageStore
from wherry.layers.store import Layer

if TYPE_CHECKING:
    from wherry.images.fsck import Refetch

__all__ = ["DiskChecks"]

Checked = Finding | CheckSummary


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

    def accounts(self) -> Accounts:
        """Bytes under the data root by owner, and orphans."""
        return self._ledger.report()

    def sharing(self) -> Sharing:
        """All images with their layers, all layers with their images."""
        return self._store.sharing()

    def layer_steps(self, name: str) -> Sequence[LayerStep]:
        """An image's layers, with what each one adds, replaces and deletes."""
        return self._store.layer_steps(name)

    def differences(self, first: str, second: str) -> Sequence[ImageDifference]:
        """The differences of two images, file by file."""
        return self._store.differences(first, second)

    def check(self, *, repair: bool) -> Generator[Checked, None, None]:
        """Compare everything with its digest or tree digest; yield one record for each, then a summary.

        :param repair: also repair what is damaged, and remove orphans.
        """
        from wherry.images.fsck import Verdict  # noqa: PLC0415 - only when needed

        counted: Mapping[Verdict, int] = dict.fromkeys(Verdict, 0)
        total = 0
        for finding in self._store.check(busy=self._running_on, refetch=self._refetch if repair else None):
            counted = {**counted, finding.verdict: counted[finding.verdict] + 1}
            total += finding.size
            yield Finding(
                kind=str(finding.kind), name=str(finding.name), verdict=str(finding.verdict), bytes=finding.size,
                images=list(finding.images), why=finding.why, hint=finding.hint,
            )  # fmt: skip
        orphans = self._ledger.report().orphans
        if repair and orphans:
            self._store.remove_orphans()
            self._ledger.remove_orphaned_containers()
            orphans = self._ledger.report().orphans
        counts = {str(verdict): count for verdict, count in counted.items()}
        yield CheckSummary(CheckTotals(**counts, bytes=total, orphans=orphans))

    def _running_on(self, layer: Layer) -> list[str]:
        """The containers that run on a layer, or are about to."""
        alive = [one for one in self._containers if one.state.is_alive or one.restart is not None]
        return [one.id for one in alive if layer in self._store.get(one.definition.image_id).layers]
