"""The parts that the end-points work with, put together once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wherry.registry.server.catalog import Catalog
    from wherry.registry.server.engine import Engine
    from wherry.registry.server.events import Events
    from wherry.registry.server.proxy.pull_through import Cache
    from wherry.registry.server.quota import Quotas
    from wherry.registry.server.sessions import Sessions

__all__ = ["Registry"]


@dataclass(frozen=True, slots=True)
class Registry:
    """A registry, without its services.

    :ivar cache: what fetches from the upstream, when this is a pull-through cache.
    :ivar engine: whose blobs may be linked, if there is one beside us.
    :ivar open_to_all: nobody has to say who they are.
    """

    catalog: Catalog
    sessions: Sessions
    quotas: Quotas
    events: Events
    cache: Cache | None = None
    engine: Engine | None = None
    open_to_all: bool = True
    delete: bool = True
    sparse_indexes: bool = False
    max_manifest: int = 4 << 20
    max_upload: int = 0
    page: int = 1000
