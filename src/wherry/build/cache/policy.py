"""Limits of the cache: ``builder.gc`` of daemon.json, and BuildKit's defaults."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

from msgspec import Struct

from wherry.build.model.service import PruneOptions
from wherry.docker.units import parse_duration, parse_size
from wherry.errors import InvalidInput

__all__ = ["BuilderSettings", "CacheLimits", "Disk", "Space", "keep_bytes", "parse_settings"]

_GB: Final = 10**9
_HOUR: Final = 3_600 * 10**9
_RECENT: Final = 48 * _HOUR
_OLD: Final = 60 * 24 * _HOUR
_REPRODUCIBLE: Final = ("type==source.local", "type==exec.cachemount", "type==source.git.checkout")
#: What Docker's daemon allows where its configuration does not say.
_ENTITLEMENTS: Final = {"network-host": True, "security-insecure": False, "device": True}
_SETTINGS: Final = ("gc", "entitlements", "history", "parallel", "proxy-network")
_HISTORY: Final = ("maxEntries", "maxAge")
_DOCKER_NAMES: Final = {"network-host": "network.host", "security-insecure": "security.insecure", "device": "device"}


class Disk(Struct, frozen=True):
    """The file system that the cache is on, in bytes."""

    total: int
    free: int


class Space(Struct, frozen=True):
    """An amount of disk: bytes, or where those are 0, a percentage of all of it."""

    bytes: int = 0
    percentage: int = 0

    def on(self, disk: Disk) -> int:
        """In bytes; BuildKit rounds a percentage up, to gigabytes."""
        if self.bytes or not self.percentage:
            return self.bytes
        return (disk.total * self.percentage // 100 // (1 << 30) + 1) * _GB


class Rule(Struct, frozen=True, kw_only=True):
    """One policy of the garbage collection."""

    all: bool = False
    filters: tuple[str, ...] = ()
    keep_duration: int = 0
    reserved: Space = Space()
    max_used: Space = Space()
    min_free: Space = Space()

    def on(self, disk: Disk) -> PruneOptions:
        """What to prune by it."""
        return PruneOptions(
            all=self.all,
            filters=self.filters,
            keep_duration=self.keep_duration,
            reserved_space=self.reserved.on(disk),
            max_used_space=self.max_used.on(disk),
            min_free_space=self.min_free.on(disk),
        )


class CacheLimits(Struct, frozen=True, kw_only=True):
    """The garbage collection: whether there is any, and its policies, which are carried out in their order."""

    enabled: bool = True
    rules: tuple[Rule, ...] = ()
    reserved: Space = Space()
    max_used: Space = Space()
    min_free: Space = Space()

    def policies(self, disk: Disk) -> list[PruneOptions]:
        """What to prune, in this order."""
        if not self.enabled:
            return []
        return [rule.on(disk) for rule in self.rules or self._default_rules(disk)]

    def _default_rules(self, disk: Disk) -> Sequence[Rule]:
        reserved, max_used, min_free = self.reserved, self.max_used, self.min_free
        if not any((reserved != Space(), max_used != Space(), min_free != Space())):
            reserved = _at_most(Space(percentage=10), 10 * _GB, disk)
            max_used = _at_most(Space(percentage=60), 100 * _GB, disk)
            min_free = Space(percentage=20)
        limits: dict[str, Any] = {"reserved": reserved, "max_used": max_used, "min_free": min_free}
        return (
            Rule(filters=_REPRODUCIBLE, keep_duration=_RECENT, max_used=Space(512 * 10**6)),
            Rule(keep_duration=_OLD, **limits),
            Rule(**limits),
            Rule(all=True, **limits),
        )


class BuilderSettings(Struct, frozen=True, kw_only=True):
    """What daemon.json says about the builder.

    :param entitlements: that a client may ask for.
    :param parallel: how many steps run at a time; 0: twice as many as there are processors.
    :param history: how many builds are remembered.
    :param collect_after: seconds from the end of a build to the collection that follows it.
    """

    limits: CacheLimits = CacheLimits()
    entitlements: frozenset[str] = frozenset({"network.host", "device"})
    parallel: int = 0
    history: int = 50
    collect_after: float = 1.0


def _at_most(space: Space, most: int, disk: Disk) -> Space:
    return space if space.on(disk) <= most else Space(most)


def keep_bytes(total: int, disk: Disk, options: PruneOptions) -> int | None:
    """To how many bytes the cache is to shrink; None: there is no such limit."""
    if not (options.reserved_space or options.max_used_space or options.min_free_space):
        return None
    keep = options.max_used_space
    excess = options.min_free_space - disk.free
    if options.min_free_space and excess > 0:
        keep = min(keep, total - excess) if keep else total - excess
    elif not keep:
        # only a bound on what has to be free, which holds; or only what is reserved, which then is the limit
        keep = total if options.min_free_space else options.reserved_space
    return max(keep, options.reserved_space)


# --- daemon.json ----------------------------------------------------------------------------------


def parse_settings(given: object) -> BuilderSettings:
    """The object ``builder`` of daemon.json.

    :raises InvalidInput: something in it is wrong.
    """
    settings = _object(given, "builder", _SETTINGS)
    entitlements = _ENTITLEMENTS | _object(settings.get("entitlements"), "builder.entitlements", _ENTITLEMENTS)
    history = _object(settings.get("history"), "builder.history", _HISTORY)
    return BuilderSettings(
        limits=_limits(settings.get("gc")),
        entitlements=frozenset(_DOCKER_NAMES[name] for name, allowed in entitlements.items() if allowed),
        parallel=_count(settings.get("parallel", 0), "builder.parallel"),
        history=_count(history.get("maxEntries", 50), "builder.history.maxEntries"),
    )


def without_effect(given: object) -> tuple[str, ...]:
    """A sentence for each of dockerd's settings in the object ``builder`` that changes nothing here.

    :raises InvalidInput: something in it is wrong.
    """
    settings = _object(given, "builder", _SETTINGS)
    found = []
    if settings.get("proxy-network"):
        found.append('"builder.proxy-network" has no effect: steps have no such network')
    if _object(settings.get("history"), "builder.history", _HISTORY).get("maxAge"):
        found.append('"builder.history.maxAge" has no effect: builds are remembered up to a number, "maxEntries"')
    return tuple(found)


def _limits(given: object) -> CacheLimits:
    names = {"enabled", "policy", "defaultKeepStorage", "defaultReservedSpace", "defaultMaxUsedSpace"}
    gc = _object(given, "builder.gc", names | {"defaultMinFreeSpace"})
    enabled = gc.get("enabled", True)
    if not isinstance(enabled, bool):
        raise InvalidInput('"builder.gc.enabled" has to be true or false')
    rules = gc.get("policy") or []
    if not isinstance(rules, list):
        raise InvalidInput('"builder.gc.policy" has to be a list')
    return CacheLimits(
        enabled=enabled,
        rules=tuple(_rule(rule) for rule in rules),
        reserved=_space(gc, "defaultReservedSpace", "defaultKeepStorage"),
        max_used=_space(gc, "defaultMaxUsedSpace"),
        min_free=_space(gc, "defaultMinFreeSpace"),
    )


def _rule(given: object) -> Rule:
    names = {"all", "filter", "keepStorage", "reservedSpace", "maxUsedSpace", "minFreeSpace", "keepDuration"}
    rule = _object(given, "builder.gc.policy", names)
    filters, unused = _without_duration(rule.get("filter") or [])
    return Rule(
        all=bool(rule.get("all", False)),
        filters=_filters(filters),
        keep_duration=_duration(unused or rule.get("keepDuration", 0)),
        reserved=_space(rule, "reservedSpace", "keepStorage"),
        max_used=_space(rule, "maxUsedSpace"),
        min_free=_space(rule, "minFreeSpace"),
    )


def _without_duration(given: object) -> tuple[list[str], str]:
    """Docker has a duration among the filters: ``unused-for=48h``. Returns the others, and it.

    A filter is a text, ``name=value``; or all of them are one object, ``{"name": {"value": true}}``.
    """
    if isinstance(given, dict):
        given = [f"{name}={value}" for name, values in given.items() for value in values]
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise InvalidInput('"filter" of a policy has to be a list of texts')
    others, duration = [], ""
    for one in given:
        name, _, value = one.partition("=")
        if name in ("unused-for", "until"):
            duration = value
        else:
            others.append(one)
    return others, duration


def _filters(given: Sequence[str]) -> tuple[str, ...]:
    """All of them have to fit."""
    conditions = []
    for one in given:
        name, sign, value = one.partition("=")
        conditions.append(one if not sign or value.startswith("=") or name[-1:] in "!~" else f"{name}=={value}")
    return (",".join(conditions),) if conditions else ()


def _duration(given: object) -> int:
    try:
        if isinstance(given, int):
            return given * 10**9
        return parse_duration(str(given))
    except ValueError as error:
        raise InvalidInput("invalid keepDuration of a policy", cause=str(error)) from None


def _space(settings: dict[str, Any], *names: str) -> Space:
    for name in names:
        given = settings.get(name)
        if given in (None, "", 0):
            continue
        try:
            text = str(given)
            if text.endswith("%"):
                return Space(percentage=int(text[:-1]))
            return Space(parse_size(text))
        except ValueError as error:
            raise InvalidInput(f'invalid "{name}" of the build cache', cause=str(error)) from None
    return Space()


def _object(given: object, name: str, settings: Collection[str]) -> dict[str, Any]:
    """An object's settings; their names are good in any case, as Go reads them.

    :param settings: all that there may be.
    """
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise InvalidInput(f'"{name}" has to be an object')
    known = {one.lower(): one for one in settings}
    for one in given:
        if one.lower() not in known:
            raise InvalidInput(f'"{name}" has no setting "{one}"')
    return {known[one.lower()]: value for one, value in given.items()}


def _count(given: object, name: str) -> int:
    if not isinstance(given, int) or isinstance(given, bool) or given < 0:
        raise InvalidInput(f'"{name}" has to be a number')
    return given
