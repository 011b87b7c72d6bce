"""Results, as a client that drives a build gets them and gives them back: a frontend's, and what failed steps left."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

import msgspec

from wherry.api.buildkit.encode_definition import encode
from wherry.api.buildkit.proto import gateway_pb2 as pb
from wherry.build.model.request import FrontResult, Ref
from wherry.errors import InvalidInput, TooLarge
from wherry.oci.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wherry.build.model.failure import FailedMount, Leftover
    from wherry.build.model.graph import Edge

__all__ = ["Results"]

MOST_REFS: Final = 100_000
MOST_HELD: Final = 128 << 20  #: bytes that a client sends to drive one build, and of what it is given
CALL: Final = 4 << 10  #: bytes that each call of it counts for, at least
DEFINITION_LIMIT: Final = 3 << 20  #: bytes of all definitions in one answer: clients take 4 MB
_CONFIG: Final = "containerimage.config"
_BASE_CONFIG: Final = "containerimage.base.config"
_PLATFORMS: Final = "refs.platforms"


class Results:
    """The results that one build's client was given, by the IDs that it knows them by."""

    def __init__(self) -> None:
        self._edges: dict[str, Edge | None] = {}
        self._extras: dict[str, dict[str, Edge]] = {}
        self._left: dict[str, Leftover] = {}
        self._ids: dict[int, str] = {}  # of what was left, by its identity, so that each has one ID
        self._config_of: dict[str, Ref] = {}
        self._spent = 0
        self.sources: dict[str, bytes] = {}  #: texts of the files that vertices were written in

    def spend(self, size: int) -> None:
        """Count bytes of what stays with the build to its end.

        :raises TooLarge: it is more than any client needs.
        """
        self._spent += size
        if self._spent > MOST_HELD:
            raise TooLarge("the client asks too much of its build")

    def edge(self, identifier: str) -> Edge | None:
        """What an ID means.

        :raises InvalidInput: it is unknown.
        """
        if not identifier:
            return None
        if identifier not in self._edges:
            raise InvalidInput(f"no such ref: {identifier[:100]}")
        return self._edges[identifier]

    def mounted(self, identifier: str) -> Edge | Leftover | None:
        """What an ID means as a mount of a container: of what failed steps have left, too.

        :raises InvalidInput: it is unknown.
        """
        return self._left.get(identifier) or self.edge(identifier)

    def leave(self, mounts: Sequence[FailedMount]) -> tuple[list[str], list[str]]:
        """Give what a failed step has left; the IDs of what was in its mounts before, and after it. Empty: nothing.

        :raises TooLarge: it is more than any client needs.
        """
        before = [self._id_of(mount.before) for mount in mounts]
        return before, [self._id_of(mount.after) for mount in mounts]

    def _id_of(self, one: Leftover | None) -> str:
        if one is None:
            return ""
        if id(one) not in self._ids:
            self.spend(CALL)
            identifier = self._ids[id(one)] = secrets.token_hex(12)
            self._left[identifier] = one  # so it stays, and so does its identity
        return self._ids[id(one)]

    def give(self, result: FrontResult, *, as_array: bool = True) -> pb.Result:
        """A result for the client; blocking, as the graph may be large.

        :param as_array: False: for clients from before 2019, which know IDs only.
        """
        if len(self._edges) + len(result.refs) > MOST_REFS:
            raise TooLarge("the build has too many results")
        self.sources |= result.sources
        message = pb.Result(metadata=result.metadata)
        _put_configurations(message, result)
        refs = {key: self._ref(ref, result.sources) for key, ref in result.refs.items()}
        if sum(ref.def_size for ref in refs.values()) > DEFINITION_LIMIT:
            for ref in refs.values():
                ref.message.ClearField("definition")  # it can only not be another build's input then
        _put_refs(message, {key: ref.message for key, ref in refs.items()}, as_array=as_array)
        return message

    def take(self, message: pb.Result) -> FrontResult:
        """What the client makes of it.

        :raises InvalidInput: it is none of what the client was given.
        """
        metadata = dict(message.metadata)
        refs = {}
        for key, identifier in _ordered(message, metadata.get(_PLATFORMS, b"")):
            suffix = f"/{key}" if key else ""
            refs[key] = Ref(
                edge=self.edge(identifier),
                config=_without_rootfs(metadata.pop(_CONFIG + suffix, b"")),
                base_config=metadata.pop(_BASE_CONFIG + suffix, b""),
                extras=self._extras.get(identifier, {}),
            )
        metadata.pop(_PLATFORMS, None)
        return FrontResult(refs=refs, metadata=metadata, sources=self.sources)

    def _ref(self, ref: Ref, sources: dict[str, bytes]) -> _Given:
        identifier = secrets.token_hex(12)
        self._edges[identifier] = ref.edge
        self._extras[identifier] = ref.extras
        definition = encode(ref.edge, sources)
        return _Given(pb.Ref(id=identifier, definition=definition), definition.ByteSize())


class _Given(msgspec.Struct):
    message: Any
    def_size: int


def _put_configurations(message: pb.Result, result: FrontResult) -> None:
    platforms = []
    for key, ref in result.refs.items():
        suffix = f"/{key}" if key else ""
        if ref.config:
            message.metadata[_CONFIG + suffix] = _with_rootfs(ref.config)
        if ref.base_config:
            message.metadata[_BASE_CONFIG + suffix] = ref.base_config
        if key:
            platforms.append({"ID": key, "Platform": _described(key)})
    if platforms:
        message.metadata[_PLATFORMS] = msgspec.json.encode({"Platforms": platforms})


def _with_rootfs(config: bytes) -> bytes:
    """A configuration as BuildKit gives it: of layers, without any yet. It may come back as another build's input."""
    decoded = _decoded(config)
    if decoded is None or "rootfs" in decoded:
        return config
    return msgspec.json.encode({**decoded, "rootfs": {"type": "layers", "diff_ids": None}})


def _without_rootfs(config: bytes) -> bytes:
    decoded = _decoded(config)
    if decoded is None or decoded.pop("rootfs", None) is None:
        return config
    return msgspec.json.encode(decoded)


def _decoded(config: bytes) -> dict[str, Any] | None:
    """A configuration; None where it is none, which whoever reads it complains of."""
    try:
        return msgspec.json.decode(config, type=dict[str, Any])
    except msgspec.MsgspecError:
        return None


def _described(key: str) -> dict[str, str]:
    platform = Platform.parse(key)
    described = {"architecture": platform.architecture, "os": platform.os}
    return described | ({"variant": platform.variant} if platform.variant else {})


def _put_refs(message: pb.Result, refs: dict[str, pb.Ref], *, as_array: bool) -> None:
    single = refs.get("") if len(refs) == 1 else None
    if not refs:
        return
    if single is not None and as_array:
        message.ref.CopyFrom(single)
    elif single is not None:
        message.refDeprecated = single.id
    elif as_array:
        for key, ref in refs.items():
            message.refs.refs[key].CopyFrom(ref)
    else:
        for key, ref in refs.items():
            message.refsDeprecated.refs[key] = ref.id


def _ordered(message: pb.Result, platforms: bytes) -> Iterator[tuple[str, str]]:
    """Keys and IDs, in the order of the platforms."""
    kind = message.WhichOneof("result")
    if kind == "ref":
        yield "", message.ref.id
    elif kind == "refDeprecated":
        yield "", message.refDeprecated
    elif kind is not None:
        refs = (
            {key: ref.id for key, ref in message.refs.refs.items()}
            if kind == "refs"
            else dict(message.refsDeprecated.refs)
        )
        first = [key for key in _platform_keys(platforms) if key in refs]
        for key in dict.fromkeys([*first, *sorted(refs)]):
            yield key, refs[key]


def _platform_keys(platforms: bytes) -> list[str]:
    if not platforms:
        return []
    try:
        decoded = msgspec.json.decode(platforms)
        return [str(one["ID"]) for one in decoded["Platforms"]]
    except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
        raise InvalidInput("invalid refs.platforms in the result", cause=str(error)) from error
