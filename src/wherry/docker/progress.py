"""One line of a progress stream: of a pull, a push, a load, an import, a build (moby's ``jsonmessage.JSONMessage``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

__all__ = ["ErrorDetail", "ProgressDetail", "ProgressMessage"]


class ProgressDetail(TypedDict, total=False):
    """How far something is, in bytes; empty where that is not known."""

    current: int
    total: int


class ErrorDetail(TypedDict, total=False):
    """What went wrong; the code is the exit code of a step of a build.

    ``excerpt`` is wherry's own: where in which file of a build.
    """

    code: int
    message: str
    excerpt: Any


class ProgressMessage(TypedDict, total=False):
    """A message; its members have the names of the wire.

    ``stream`` is text as it is, ``status`` a line about ``id``, ``progress`` its bar for old clients; ``aux`` is what
    clients ask for, whose form ``id`` says; an ``error`` is the last one.
    """

    stream: str
    status: str
    progressDetail: ProgressDetail
    progress: str
    id: str
    aux: Mapping[str, Any] | str
    error: str
    errorDetail: ErrorDetail
