"""Cache keys: from what a vertex is made to a text that is equal exactly where the results are.

- The *identity* of a vertex stands for its result: records are found by it, and it goes into the keys of the vertices
  above.
- The *fast key* comes from the operation and the identities of the inputs. It is known before anything was run.
- Where an operation takes only some files of an input (COPY, a read-only mount), their *checksum* stands for the input
  instead: then the identity is the *content key*, and a fast key leads to it. A changed file that is not copied makes
  another fast key, and the same content key.

What does not count (as in BuildKit): proxies, limits, the addresses of further hosts, where a cache mount is from and
what is in it, the contents of secrets, names and descriptions of vertices.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Final

import msgspec

from wherry.build.model.graph import (
    NO_INPUT,
    NO_OUTPUT,
    Bind,
    BuildMount,
    Cache,
    CacheSharing,
    Copy,
    ExecOp,
    FileAction,
    FileOp,
    MakeDirectory,
    MakeFile,
    Op,
    Owner,
    Symlink,
    Vertex,
)
from wherry.oci.digest import Digest

__all__ = ["ContentUse", "content_key", "content_uses", "fast_key", "is_content_mount", "source_identity"]

_VERSION: Final = "1"
"""Part of every key: to be changed when the same operation begins to give another result."""
_NAME_FILES: Final = ("/etc/passwd", "/etc/group")


@dataclass(frozen=True, slots=True)
class ContentUse:
    """Which files of an input an operation takes.

    :param input: the number of the vertex's input.
    :param copy: those that a copy takes; None: `path` and all below it.
    :param optional: whether it may be missing.
    """

    input: int
    copy: Copy | None = None
    path: str = "/"
    optional: bool = False


def source_identity(key: str) -> str:
    """The identity of a source.

    :param key: as in `SourceKey.key`.
    """
    return _hash("source", key)


def fast_key(vertex: Vertex, identities: Sequence[str]) -> str:
    """The key that is known before anything was run.

    :param identities: of the inputs, in their order.
    """
    outputs = [edge.output for edge in vertex.inputs]
    return _hash("fast", _counting(vertex.op), _platform(vertex), list(zip(identities, outputs, strict=True)))


def content_key(vertex: Vertex, identities: Sequence[str], checksums: Mapping[int, Sequence[str]]) -> str:
    """The key that knows content.

    :param identities: of the inputs, in their order.
    :param checksums: by the number of an input, one for each of its `content_uses`; they stand for its identity.
    """
    inputs: list[object] = []
    for number, edge in enumerate(vertex.inputs):
        known = checksums.get(number)
        inputs.append((identities[number], edge.output) if known is None else list(known))
    op = _without_places(_counting(vertex.op), checksums.keys() & content_uses(vertex).keys())
    return _hash("content", op, _platform(vertex), inputs)


def content_uses(vertex: Vertex, changing: frozenset[int] = frozenset()) -> dict[int, tuple[ContentUse, ...]]:
    """Which inputs count by the content of what is taken of them, by their numbers.

    :param changing: inputs whose identity does not say what is in them; they count by content in any case.
    """
    op = vertex.op
    uses: dict[int, list[ContentUse]] = {}
    wholes: set[int] = set()
    if isinstance(op, ExecOp):
        _uses_of_mounts(op, uses, wholes)
    elif isinstance(op, FileOp):
        _uses_of_actions(op, len(vertex.inputs), uses, wholes)
    else:
        wholes.update(range(len(vertex.inputs)))
    found = {number: tuple(some) for number, some in uses.items() if number not in wholes}
    for number in changing - found.keys():
        found[number] = (ContentUse(number),)
    return found


def is_content_mount(mount: BuildMount) -> bool:
    """Whether a mount counts by the content of what it shows: nothing can be written there."""
    readable_only = mount.readonly and mount.output == NO_OUTPUT and mount.target != "/"
    return isinstance(mount.kind, Bind) and mount.input != NO_INPUT and readable_only and mount.content_key


def _uses_of_mounts(op: ExecOp, uses: dict[int, list[ContentUse]], wholes: set[int]) -> None:
    for mount in op.mounts:
        if is_content_mount(mount):
            uses.setdefault(mount.input, []).append(ContentUse(mount.input, path=mount.selector or "/"))
        elif mount.input != NO_INPUT:
            wholes.add(mount.input)


def _uses_of_actions(op: FileOp, inputs: int, uses: dict[int, list[ContentUse]], wholes: set[int]) -> None:
    for action in op.actions:
        if 0 <= action.input < inputs:
            wholes.add(action.input)
        if isinstance(action.action, Copy) and 0 <= action.secondary < inputs:
            uses.setdefault(action.secondary, []).append(ContentUse(action.secondary, action.action))
        for number in sorted({owner.input for owner in _named_owners(action)} & set(range(inputs))):
            some = uses.setdefault(number, [])
            some.extend(ContentUse(number, path=path, optional=True) for path in _NAME_FILES)


def _named_owners(action: FileAction) -> list[Owner]:
    what = action.action
    if not isinstance(what, Copy | MakeFile | MakeDirectory | Symlink) or what.chown is None:
        return []
    return [owner for owner in (what.chown.user, what.chown.group) if owner is not None and owner.id is None]


def _counting(op: Op) -> Op:
    """An operation without what does not count."""
    if not isinstance(op, ExecOp):
        return op
    return msgspec.structs.replace(
        op,
        proxy_env=(),
        ulimits=(),
        cgroup_parent="",
        shm_size=0,
        extra_hosts=tuple(msgspec.structs.replace(entry, ip="") for entry in op.extra_hosts),
        mounts=tuple(_counting_mount(mount) for mount in op.mounts),
    )


def _counting_mount(mount: BuildMount) -> BuildMount:
    if isinstance(mount.kind, Cache):
        return msgspec.structs.replace(mount, kind=Cache(id="", sharing=CacheSharing.SHARED))
    return mount


def _without_places(op: Op, inputs: Set[int]) -> Op:
    """An operation without where in some inputs, which count by the content of just that, its files are."""
    if isinstance(op, ExecOp):
        mounts = [msgspec.structs.replace(m, selector="") if m.input in inputs else m for m in op.mounts]
        return msgspec.structs.replace(op, mounts=tuple(mounts))
    if isinstance(op, FileOp):
        return FileOp(tuple(_without_place(action) if action.secondary in inputs else action for action in op.actions))
    return op


def _without_place(action: FileAction) -> FileAction:
    copy = action.action
    if not isinstance(copy, Copy) or copy.parents:
        return action  # with --parents the path decides about names in the result
    # the name itself does as well: a file is copied into a directory under its own
    name = posixpath.basename(posixpath.normpath(copy.source))
    return msgspec.structs.replace(action, action=msgspec.structs.replace(copy, source=name))


def _platform(vertex: Vertex) -> str | None:
    return str(vertex.platform) if vertex.platform else None


def _hash(*parts: object) -> str:
    return Digest.from_bytes(msgspec.json.encode((_VERSION, *parts), order="sorted")).hex
