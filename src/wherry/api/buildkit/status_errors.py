"""Errors of ours as gRPC's, with the details that clients show: where in the Dockerfile, and in which step.

Details are a google.rpc.Status whose values are JSON under type URLs of BuildKit's (``util/grpcerrors``,
``solver/errdefs``); without them a client prints the sentence only.
"""

from __future__ import annotations

import base64
import logging
from typing import TYPE_CHECKING, Any, Final

import msgspec
from google.protobuf.json_format import MessageToDict

from wherry.api.buildkit.encode_definition import encode_op
from wherry.api.buildkit.grpc import Code, GrpcError
from wherry.api.buildkit.proto import common_pb2
from wherry.build.model.errors import DockerfileError, VertexFailed
from wherry.errors import (
    Forbidden,
    InvalidInput,
    NotFound,
    TooLarge,
    Unauthenticated,
    Unavailable,
    WherryError,
    encodable,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wherry.api.buildkit.results import Results
    from wherry.build.model.graph import SourceRange, Vertex

__all__ = ["as_grpc", "as_status", "shorter", "status_of"]

log = logging.getLogger(__name__)

_PREFIX: Final = "github.com/moby/buildkit/"
_SOURCE_LIMIT: Final = 256 << 10  #: bytes of a file's text that go into a header
_OP_LIMIT: Final = 256 << 10  #: and of an operation
_CODES: Final[tuple[tuple[type[WherryError], Code], ...]] = (
    (InvalidInput, Code.INVALID_ARGUMENT),
    (Unauthenticated, Code.UNAUTHENTICATED),
    (Forbidden, Code.PERMISSION_DENIED),
    (NotFound, Code.NOT_FOUND),
    (TooLarge, Code.RESOURCE_EXHAUSTED),
    (Unavailable, Code.UNAVAILABLE),
)


def as_grpc(error: Exception) -> GrpcError:
    """What a call ends with; unexpected errors go to the log."""
    if isinstance(error, GrpcError):
        return error
    status = as_status(error)
    return GrpcError(status.code, status.message, status.SerializeToString() if status.details else b"")


def as_status(error: Exception, results: Results | None = None) -> common_pb2.Status:
    """An error as google.rpc.Status.

    :param results: what the client of the build has: texts of files, for errors that have only the name; and what
        failed steps have left.
    """
    if not isinstance(error, WherryError):
        log.error("unexpected error in a request", exc_info=error, extra={"request": "gRPC"})
        text = encodable(f"internal error: {type(error).__name__}: {error}")
        return common_pb2.Status(code=Code.INTERNAL, message=text)
    status = common_pb2.Status(code=_code(error), message=str(error))
    if isinstance(error, (DockerfileError, VertexFailed)):
        source = error.source or (results.sources.get(error.file, b"") if results is not None else b"")
        if error.ranges and source:
            _add(status, "errdefs.Source+json", _source(error.file, source, error.ranges))
    if isinstance(error, VertexFailed):
        _add(status, "errdefs.Vertex+json", {"digest": str(error.vertex)})
        if error.exit_code is not None:
            _add(status, "gatewayapi.ExitMessage+json", {"Code": error.exit_code & 0xFFFFFFFF})
        if results is not None and error.step is not None:
            _add_step(status, error, error.step, results)
    return status


def status_of(status: common_pb2.Status) -> GrpcError:
    """What a client said that its build failed with, to be given back to it."""
    return GrpcError(status.code or Code.UNKNOWN, status.message, status.SerializeToString())


def _code(error: WherryError) -> Code:
    if isinstance(error, (DockerfileError, VertexFailed)):
        return Code.UNKNOWN  # as BuildKit has it
    return next((code for kind, code in _CODES if isinstance(error, kind)), Code.UNKNOWN)


def _add(status: common_pb2.Status, name: str, value: Mapping[str, Any]) -> None:
    status.details.add(type_url=_PREFIX + name, value=msgspec.json.encode(value))


def _add_step(status: common_pb2.Status, error: VertexFailed, step: Vertex, results: Results) -> None:
    """The failed operation, and what is in its mounts: for containers of a debugger's."""
    op = MessageToDict(encode_op(step))
    if len(msgspec.json.encode(op)) > _OP_LIMIT:
        return
    before, after = results.leave(error.mounts)
    _add(status, "errdefs.Solve+json", {"inputIDs": before, "mountIDs": after, "op": op})


def _source(name: str, text: bytes, ranges: Sequence[SourceRange]) -> dict[str, Any]:
    cut = shorter(text, ranges)
    return {
        "info": {"filename": name, "data": base64.b64encode(cut).decode(), "language": "Dockerfile"},
        "ranges": [
            {
                "start": {"line": one.start_line, "character": one.start_character},
                "end": {"line": one.end_line, "character": one.end_character},
            }
            for one in ranges
        ],
    }


def shorter(text: bytes, ranges: Sequence[SourceRange]) -> bytes:
    """A text up to some lines behind what is shown of it; of a huge one what is not shown is empty lines."""
    if len(text) <= _SOURCE_LIMIT:
        return text
    lines = text.split(b"\n")
    first = max(0, min(one.start_line for one in ranges) - 10)
    last = min(len(lines), max(max(one.end_line, one.start_line) for one in ranges) + 10)
    kept = [line[:1000] for line in lines[first:last][:200]]
    return b"\n" * min(first, _SOURCE_LIMIT) + b"\n".join(kept)
