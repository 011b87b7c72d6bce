"""Errors of a build that say where in a file, and in which step."""

from __future__ import annotations

from wherry.build.model.failure import FailedMount
from wherry.build.model.graph import SourceRange, Vertex
from wherry.errors import InvalidInput, WherryError
from wherry.oci.digest import Digest

__all__ = ["DockerfileError", "VertexFailed"]


class DockerfileError(InvalidInput):
    """A Dockerfile says what cannot be.

    :param file: its name.
    :param source: its text.
    :param ranges: where in it.
    """

    def __init__(
        self, message: str, *, file: str = "Dockerfile", source: bytes = b"", ranges: tuple[SourceRange, ...] = ()
    ) -> None:
        super().__init__(message)
        self.file = file
        self.source = source
        self.ranges = ranges


class VertexFailed(WherryError):
    """A step could not be carried out, or its command ended with an error.

    :param vertex: of the step.
    :param exit_code: of the command; None: it did not come to that.
    :param file: where the step was written, and `ranges` there.
    :param step: the vertex itself.
    :param mounts: the step's, by their numbers, where its command has failed and its build keeps what that has left.
    """

    def __init__(
        self,
        message: str,
        *,
        vertex: Digest,
        exit_code: int | None = None,
        file: str = "",
        source: bytes = b"",
        ranges: tuple[SourceRange, ...] = (),
        step: Vertex | None = None,
        mounts: tuple[FailedMount, ...] = (),
    ) -> None:
        super().__init__(message)
        self.vertex = vertex
        self.exit_code = exit_code
        self.file = file
        self.source = source
        self.ranges = ranges
        self.step = step
        self.mounts = mounts
