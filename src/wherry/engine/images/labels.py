"""The labels of images in their events: who follows events filters by them, as in Docker."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from wherry.errors import Conflict, InvalidInput, NotFound
from wherry.images.store import ImageStore

__all__ = ["labels_of"]


def labels_of(store: ImageStore, reference: str) -> Mapping[str, str]:
    """The labels of an image by its ID or a name; none where there is no such image."""
    with suppress(NotFound, InvalidInput, Conflict):
        return store.resolve(reference).labels
    return {}
