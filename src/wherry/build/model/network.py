"""Where a step's network traffic goes: one reading of all the ways in which that is written."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from msgspec import Struct

from wherry.errors import InvalidInput

__all__ = ["NetworkMode", "StepNetwork"]

_NAMED: Final = "network:"
_CONTAINER: Final = "container:"


class NetworkMode(StrEnum):
    """The kinds of networks that a step may have; as text, the first three stand for themselves."""

    DEFAULT = "default"
    HOST = "host"
    NONE = "none"
    NAMED = "network"
    CONTAINER = "container"


class StepNetwork(Struct, frozen=True):
    """A step's network.

    :param name: of the engine's network, or of the container that has it; empty for the other kinds.
    """

    mode: NetworkMode
    name: str = ""

    @classmethod
    def parse(cls, text: str) -> StepNetwork:
        """Read ``default``, ``host``, ``none``, ``network:NAME`` or ``network:container:NAME``; empty: the default.

        What the engine takes for one of the modes is that mode, also where it is written as a name.

        :raises InvalidInput: it is none of these.
        """
        name = text.removeprefix(_NAMED)
        if not text or name == NetworkMode.DEFAULT:
            return cls(NetworkMode.DEFAULT)
        if name in (NetworkMode.HOST, NetworkMode.NONE):
            return cls(NetworkMode(name))
        if name.startswith(_CONTAINER):
            return cls(NetworkMode.CONTAINER, name.removeprefix(_CONTAINER))
        if name and name != text:
            return cls(NetworkMode.NAMED, name)
        raise InvalidInput(f"invalid netmode {text}")

    def __str__(self) -> str:
        """The one way in which it is written in a graph."""
        if self.mode is NetworkMode.CONTAINER:
            return f"{_NAMED}{_CONTAINER}{self.name}"
        return f"{_NAMED}{self.name}" if self.mode is NetworkMode.NAMED else str(self.mode)
