"""The cache mounts of steps: which directories they are, here and elsewhere."""

from __future__ import annotations

from collections.abc import Iterable

from wherry.build.cache.mounts import CacheMount, mount_key
from wherry.build.model.graph import NO_INPUT, Cache, ExecOp
from wherry.build.solver.node import Node

__all__ = ["all_cache_mounts", "cache_mounts"]


def cache_mounts(node: Node) -> dict[int, CacheMount]:
    """The cache mounts of a vertex whose identity is known, by the numbers of its mounts."""
    op, platform = node.vertex.op, node.vertex.platform
    found: dict[int, CacheMount] = {}
    for number, mount in enumerate(op.mounts if isinstance(op, ExecOp) else ()):
        if isinstance(mount.kind, Cache):
            content = node.inputs[mount.input] if mount.input != NO_INPUT else None
            key = mount_key(mount.kind, platform, (content.identity or "") if content else "")
            pure = mount_key(mount.kind, platform, (content.pure or "unknown") if content else "")
            found[number] = CacheMount(mount.kind.id, key, pure)
    return found


def all_cache_mounts(nodes: Iterable[Node]) -> list[CacheMount]:
    """The cache mounts of some vertices, each once, in a fixed order."""
    found = {mount.key: mount for node in nodes if node.pure is not None for mount in cache_mounts(node).values()}
    return [found[key] for key in sorted(found)]
