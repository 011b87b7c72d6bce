"""Which images a list shows: Docker's filters, and the summaries in its JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from wherry.docker.image_answers import ImageSummary
from wherry.docker.reference import Reference
from wherry.docker.times import moment
from wherry.errors import InvalidInput
from wherry.images.image import Image, nanoseconds, seconds
from wherry.oci.digest import Digest
from wherry.oci.go_patterns import path_pattern

__all__ = ["Filters", "filtered", "summary"]

Filters = Mapping[str, Sequence[str]]

_KNOWN: Final = frozenset({"dangling", "label", "label!", "before", "since", "reference", "until"})
_TRUE, _FALSE = ("1", "t", "T", "true", "TRUE", "True"), ("0", "f", "F", "false", "FALSE", "False")


def filtered(images: Iterable[Image], filters: Filters, resolve: Callable[[str], Image]) -> list[Image]:
    """The images that pass all filters, the newest first.

    Values of one filter are alternatives, except that all labels have to be there. With ``reference``, an image shows
    only the names that match.

    :param resolve: finds the images that ``before`` and ``since`` name.
    :raises InvalidInput: there is no such filter, or its value makes no sense.
    """
    for name in filters:
        if name not in _KNOWN:
            raise InvalidInput(f"invalid filter '{name}'")
    patterns = [path_pattern(text) for text in dict.fromkeys(filters.get("reference", ()))]
    found = [narrowed for image in images if (narrowed := _narrow(image, patterns))]
    for condition in _conditions(filters, resolve):
        found = [image for image in found if condition(image)]
    return sorted(found, key=lambda image: (nanoseconds(image.created), image.id), reverse=True)


def boolean(filters: Filters, name: str) -> bool | None:
    """A filter that is true or false; None when it isn't there.

    :raises InvalidInput: it is neither, or both.
    """
    values = set(filters.get(name, ()))
    if not values:
        return None
    if values <= set(_TRUE):
        return True
    if values <= set(_FALSE):
        return False
    raise InvalidInput(f"invalid filter '{name}=[{' '.join(sorted(values))}]'")


def _conditions(filters: Filters, resolve: Callable[[str], Image]) -> list[Callable[[Image], bool]]:
    conditions: list[Callable[[Image], bool]] = []
    dangling = boolean(filters, "dangling")
    if dangling is not None:
        conditions.append(lambda image: (not image.repo_tags) == dangling)
    for label in filters.get("label", ()):
        conditions.append(_has_label(label))
    for label in filters.get("label!", ()):
        wanted = _has_label(label)
        conditions.append(lambda image, wanted=wanted: not wanted(image))  # type: ignore[misc]
    if names := filters.get("before", ()):
        limit = min(nanoseconds(resolve(name).created) for name in names)
        conditions.append(lambda image: nanoseconds(image.created) < limit)
    if names := filters.get("since", ()):
        start = max(nanoseconds(resolve(name).created) for name in names)
        conditions.append(lambda image: nanoseconds(image.created) > start)
    if moments := filters.get("until", ()):
        end = min(moment(text) for text in moments)
        conditions.append(lambda image: nanoseconds(image.created) < end)
    return conditions


def _has_label(text: str) -> Callable[[Image], bool]:
    key, equals, value = text.partition("=")
    return lambda image: key in image.labels and (not equals or image.labels[key] == value)


def _narrow(image: Image, patterns: Sequence[Callable[[str], bool]]) -> Image | None:
    """An image with those names only that match; None when there are none."""
    if not patterns:
        return image
    names = tuple(name for name in image.names if any(_matches(fits, name) for fits in patterns))
    return replace(image, names=names) if names else None


def _matches(fits: Callable[[str], bool], name: Reference) -> bool:
    candidates = (name.familiar, name.familiar_name, str(name), name.name)
    return any(fits(candidate) for candidate in candidates)


def summary(image: Image, users: int, shared: int) -> ImageSummary:
    """An image as the API's ImageList gives it.

    :param users: how many containers use it.
    :param shared: how many bytes of its layers other images have as well; -1 when that wasn't asked for.
    """
    return ImageSummary(
        id=str(image.id),
        repo_tags=image.repo_tags,
        repo_digests=image.repo_digests,
        created=seconds(image.created),
        size=image.size,
        virtual_size=image.size,
        shared_size=shared,
        labels=image.labels or None,
        containers=users,
    )


def shared_size(image: Image, images: Iterable[Image]) -> int:
    """The bytes in layers of an image that others have as well."""
    others: set[Digest] = {layer.chain_id for other in images if other.id != image.id for layer in other.layers}
    return sum(layer.size for layer in image.layers if layer.chain_id in others)
