"""An image's configuration: the frontend's, completed with what only the finished layers tell.

What the frontend gives has an entry of history for each step. Here each entry that stands for a layer is brought
together with its layer, as BuildKit does it; a step that changed nothing has no layer, which its entry says.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec import Struct

from wherry.errors import InvalidInput
from wherry.oci.codec import decode
from wherry.oci.digest import Digest
from wherry.oci.platform import Platform
from wherry.oci.times import from_rfc3339, rfc3339

__all__ = ["Base", "BuiltLayer", "base_of", "canonical", "complete"]

Json = dict[str, Any]

_DEFAULT_PATH: Final = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_UNKNOWN_STEP: Final = {"created_by": "created by wherry", "comment": "buildkit.exporter.image.v0"}
_INLINE_CACHE: Final = "moby.buildkit.cache.v0"


@dataclass(frozen=True, slots=True)
class BuiltLayer:
    """What a layer means for the history.

    :param diff_id: None where it is left out, because its step changed nothing, or it is a part of another one.
    :param created: nanoseconds since the epoch; None: as the history says, or as what is made next.
    """

    diff_id: Digest | None
    created: int | None = None


@dataclass(frozen=True, slots=True)
class Base:
    """What an image began from; its layers and its history stay as they are."""

    diff_ids: tuple[Digest, ...] = ()
    history: tuple[Json, ...] = ()

    def layers_in(self, diff_ids: Sequence[Digest]) -> int:
        """How many of some layers, bottom first, are its own."""
        count = 0
        for mine, theirs in zip(self.diff_ids, diff_ids, strict=False):
            if mine != theirs:
                break
            count += 1
        return count


class _RootFs(Struct):
    diff_ids: list[Digest] | None = None


class _BaseImage(Struct):
    """What counts of a base image's configuration."""

    rootfs: _RootFs | None = None
    history: list[Json] | None = None


def canonical(value: Any) -> bytes:
    """JSON that depends on the value alone, not on the order in which it was made."""
    return msgspec.json.encode(value, enc_hook=str.__str__, order="sorted")


def base_of(config: bytes) -> Base:
    """What a base image's configuration says.

    :raises InvalidInput: it is none.
    """
    if not config:
        return Base()
    found = decode(config, _BaseImage, "base image configuration")
    ids = found.rootfs.diff_ids if found.rootfs else None
    return Base(tuple(ids or ()), tuple(found.history or ()))


def complete(
    config: bytes,
    layers: Sequence[BuiltLayer],
    *,
    base: Base,
    platform: Platform,
    epoch: int | None = None,
    inline_cache: bytes | None = None,
) -> bytes:
    """The whole configuration, as JSON whose bytes depend on nothing but what is given here.

    :param config: of the frontend; empty: there is none.
    :param layers: bottom first; also those which are left out.
    :param epoch: nanoseconds: what is newer and not of the base is said to be as old as this.
    :raises InvalidInput: the configuration is none.
    """
    document = decode(config, Json, "image configuration") if config else _default(platform)
    for name, what in (("os", "os"), ("architecture", "architecture")):
        if not isinstance(document.get(name), str) or not document[name]:
            raise InvalidInput(f"invalid image config for export: missing {what}")
    history = _history(document.get("history") or [], layers, base)
    kept = _of_base(history, base)
    if epoch is not None:
        for entry in history[kept:]:
            entry["created"] = _clamped(entry.get("created"), epoch)
    document["history"] = history
    document["rootfs"] = {"type": "layers", "diff_ids": [layer.diff_id for layer in layers if layer.diff_id]}
    if document.get("created"):
        if epoch is not None:
            document["created"] = _clamped(document["created"], epoch)
    else:
        last = next((entry["created"] for entry in reversed(history) if entry.get("created")), None)
        document["created"] = last or rfc3339(epoch or 0)
    if inline_cache is not None:
        document[_INLINE_CACHE] = base64.b64encode(inline_cache).decode()
    return canonical(document)


def _default(platform: Platform) -> Json:
    """The configuration of a result that has none."""
    document: Json = {
        "os": platform.os,
        "architecture": platform.architecture,
        "config": {"Env": [_DEFAULT_PATH], "WorkingDir": "/"},
    }
    return document | ({"variant": platform.variant} if platform.variant else {})


def _history(given: Any, layers: Sequence[BuiltLayer], base: Base) -> list[Json]:
    if not isinstance(given, list) or not all(isinstance(entry, dict) for entry in given):
        raise InvalidInput("invalid image config for export: the history is no list of steps")
    history = _balanced([dict(entry) for entry in given], layers, base)
    pending = iter(layers)
    for entry in history:
        if entry.get("empty_layer"):
            continue
        layer = next(pending)
        if not entry.get("created") and layer.created is not None:
            entry["created"] = rfc3339(layer.created)
        if layer.diff_id is None:
            entry["empty_layer"] = True
    _fill_times(history)
    return history


def _balanced(history: list[Json], layers: Sequence[BuiltLayer], base: Base) -> list[Json]:
    """The history with as many entries that stand for layers as there are layers."""
    found = 0
    for entry in history:
        if not entry.get("empty_layer"):
            found += 1
            if found > len(layers):
                entry["empty_layer"] = True
    missing = len(layers) - found
    if missing <= 0:
        return history
    # An image whose own history is too short, or has none, is older than the first step of the build.
    own = min(missing, max(0, len(base.diff_ids) - sum(not entry.get("empty_layer") for entry in base.history)))
    front = len(base.history)
    before = [dict(_UNKNOWN_STEP) for _ in range(own)]
    behind = [dict(_UNKNOWN_STEP) for _ in range(missing - own)]
    return [*history[:front], *before, *history[front:], *behind]


def _fill_times(history: list[Json]) -> None:
    """Steps without a layer were made with the next layer; behind the last layer, with that one."""
    following: str | None = None
    times: list[str | None] = []
    for entry in reversed(history):
        following = entry.get("created") or following
        times.append(following)
    times.reverse()
    former: str | None = None
    for entry, time in zip(history, times, strict=True):
        former = entry.get("created") or time or former
        if former:
            entry["created"] = former


def _of_base(history: Sequence[Json], base: Base) -> int:
    """How many of the first entries are the base's own; their times stay."""
    count = 0
    for mine, theirs in zip(history, base.history, strict=False):
        if {**theirs, "created": mine.get("created")} != mine or theirs.get("created") not in (None, mine["created"]):
            break
        count += 1
    return count


def _clamped(time: Any, epoch: int) -> str:
    try:
        return rfc3339(min(from_rfc3339(time), epoch)) if isinstance(time, str) else rfc3339(epoch)
    except InvalidInput:
        return rfc3339(epoch)
