"""Requests and answers about checkpoints, as Docker's experimental operations have them."""

from __future__ import annotations

from msgspec import Struct, field

__all__ = ["CheckpointRequest", "CheckpointSummary"]


class CheckpointRequest(Struct, rename="pascal", kw_only=True):
    """The body of CheckpointCreate.

    :param exit: whether the container's processes end when they are written.
    """

    checkpoint_id: str = field(default="", name="CheckpointID")
    checkpoint_dir: str = ""
    exit: bool = False


class CheckpointSummary(Struct, rename="pascal", kw_only=True):
    """A row of CheckpointList."""

    name: str
