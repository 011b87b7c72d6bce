"""Builds of the past and of now as JSON (``/wherry/builds``), and which of them a text means."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from wherry.build.model.service import BuildRecord
from wherry.docker.reference import Reference
from wherry.errors import Conflict, InvalidInput, NotFound

__all__ = ["document", "find", "newest_first"]

Json = dict[str, Any]

_ID: Final = "containerimage.config.digest"
_DIGEST: Final = "containerimage.digest"
_NAMES: Final = "image.name"
_BACK: Final = re.compile(r"\^([0-9]{1,6})")
_SHOWN: Final = 80  # characters of what was asked for, in an error
_CANCELLED: Final = "context canceled"
_SHA256: Final = "sha256:"
_LEAST: Final = 4  # characters of an image's ID


def newest_first(records: Sequence[BuildRecord]) -> list[BuildRecord]:
    """The builds, those that began last first."""
    return sorted(records, key=lambda record: record.created, reverse=True)


def document(record: BuildRecord) -> Json:
    """A build as JSON; times in nanoseconds since the epoch, ``Completed`` is 0 while it runs."""
    return {
        "Ref": record.ref,
        "Status": _status(record),
        "Names": _names(record),
        "Image": record.exporter_response.get(_ID, ""),
        "Error": record.error,
        "Created": record.created,
        "Completed": record.completed or 0,
        "Steps": record.steps,
        "CachedSteps": record.cached,
        "CompletedSteps": record.completed_steps,
        "Warnings": record.warnings,
        "Pinned": record.pinned,
        "Frontend": record.frontend,
        "Options": record.options,
        "Response": record.exporter_response,
    }


def _status(record: BuildRecord) -> str:
    if record.completed is None:
        return "running"
    if not record.error:
        return "completed"
    return "canceled" if record.error.startswith(_CANCELLED) else "error"


def _names(record: BuildRecord) -> list[str]:
    return [name for name in record.exporter_response.get(_NAMES, "").split(",") if name]


def find(records: Sequence[BuildRecord], wanted: str, image_id: Callable[[str], str]) -> BuildRecord:
    """The build that a text means: a ref, ``^0`` (the last one), ``^1`` (the one before), an image, a part of a ref.

    Of several builds of one image it is the last one.

    :param image_id: the ID of an image by whatever means it; empty: there is none.
    :raises NotFound: there is no such build.
    :raises Conflict: several refs begin like this.
    """
    ordered = newest_first(records)
    if back := _BACK.fullmatch(wanted):
        if int(back[1]) < len(ordered):
            return ordered[int(back[1])]
        raise NotFound(f"there are only {len(ordered)} builds" if ordered else "there are no builds")
    found = next((one for one in ordered if one.ref == wanted), None) or _named(ordered, wanted)
    if found is None:
        beginning = [one for one in ordered if one.ref.startswith(wanted)]
        if len(beginning) > 1:
            raise Conflict(f"several builds begin with {wanted[:_SHOWN]!r}")
        found = beginning[0] if beginning else _of_image(ordered, image_id(wanted) or wanted)
    if found is None:
        raise NotFound(f"no such build: {wanted[:_SHOWN]}")
    return found


def _named(ordered: Sequence[BuildRecord], wanted: str) -> BuildRecord | None:
    """The last build that gave its image this name."""
    try:
        name = str(Reference.parse(wanted).with_default_tag())
    except InvalidInput:
        return None
    return next((one for one in ordered if name in _names(one)), None)


def _of_image(ordered: Sequence[BuildRecord], wanted: str) -> BuildRecord | None:
    """The last build of an image, which may be gone, by its ID or the beginning of that."""
    beginning = wanted.removeprefix(_SHA256)
    if len(beginning) < _LEAST:
        return None
    digests = ((one, one.exporter_response.get(key, "")) for one in ordered for key in (_ID, _DIGEST))
    return next((one for one, digest in digests if digest.removeprefix(_SHA256).startswith(beginning)), None)
