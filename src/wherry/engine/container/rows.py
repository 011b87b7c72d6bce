"""What a row of the containers' table says, so that thousands of containers that are alike take little memory.

Most containers have a host configuration that others have, too, and name the same images and networks. Such values are
immutable, and kept once.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import Final

import msgspec
from msgspec.structs import force_setattr

from wherry.docker.container_requests import HostConfig
from wherry.engine.container.container import Definition
from wherry.engine.container.state import State

__all__ = ["definition_of", "state_of"]

_REMEMBERED: Final = 128  # host configurations


class _Encoded(Definition, kw_only=True):
    """A definition whose host configuration is not decoded yet."""

    host: msgspec.Raw  # type: ignore[assignment]


_DEFINITION: Final = msgspec.json.Decoder(_Encoded)
_HOST: Final = msgspec.json.Decoder(HostConfig)
_STATE: Final = msgspec.json.Decoder(State)


def definition_of(encoded: bytes) -> Definition:
    """Decode a row's ``definition``.

    :raises msgspec.MsgspecError: this version does not understand it.
    """
    row = _DEFINITION.decode(encoded)
    config = row.config
    if config.image is not None:
        force_setattr(config, "image", sys.intern(config.image))
    if config.env:
        config.env[:] = map(sys.intern, config.env)
    for settings in row.networks.values():
        settings.network_id = settings.network_id and sys.intern(settings.network_id)
    members = {name: getattr(row, name) for name in Definition.__struct_fields__}
    members["host"] = _host(bytes(row.host))
    for name in ("image", "image_id", "platform"):
        members[name] = sys.intern(members[name])
    return Definition(**members)


@lru_cache(_REMEMBERED)
def _host(encoded: bytes) -> HostConfig:
    return _HOST.decode(encoded)


def state_of(encoded: bytes) -> State:
    """Decode a row's ``state``.

    :raises msgspec.MsgspecError: this version does not understand it.
    """
    return _STATE.decode(encoded)
