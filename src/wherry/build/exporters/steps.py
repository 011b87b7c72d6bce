"""What an exporter is at, as progress of its vertex: ``exporting layers``, ``naming to …``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from wherry.build.exporters.contract import Product
from wherry.build.model.progress import TransferProgress

__all__ = ["step"]


@contextmanager
def step(product: Product, name: str) -> Iterator[None]:
    """Show something from its beginning to its end; what fails has no end."""
    started = time.time_ns()
    product.progress(TransferProgress(id=name, vertex=product.vertex, name=name, at=started, started=started))
    yield
    ended = time.time_ns()
    product.progress(
        TransferProgress(id=name, vertex=product.vertex, name=name, at=ended, started=started, completed=ended)
    )
