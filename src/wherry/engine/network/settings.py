"""The settings of `wherry.network`, made of the engine's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs

from wherry.engine.settings import DEFAULT_EXEC_ROOT
from wherry.network.model import NetworkSettings

if TYPE_CHECKING:
    from wherry.engine.settings import Settings

__all__ = ["network_settings"]


def network_settings(settings: Settings) -> NetworkSettings:
    """The settings of an engine's networks: the options as they are, and the engine's directories."""
    return NetworkSettings(
        **structs.asdict(settings.networks),
        data_root=settings.data_root,
        exec_root=settings.exec_root,
        default_exec_root=settings.exec_root == DEFAULT_EXEC_ROOT,
    )
