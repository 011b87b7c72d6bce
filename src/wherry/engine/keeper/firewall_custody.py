"""The keeper holds the firewall's socket; see `wherry.network.firewall.custody`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from wherry.errors import WherryError
from wherry.linux.fd import Fd

if TYPE_CHECKING:
    from wherry.engine.keeper.connection import KeeperConnection

__all__ = ["KeeperCustody"]

_log: Final = logging.getLogger(__name__)
_NAME: Final = "nftables"


class KeeperCustody:
    """A `wherry.network.firewall.custody.Custody`."""

    def __init__(self, keeper: KeeperConnection) -> None:
        self._keeper = keeper

    async def recall(self) -> Fd | None:
        """What a former daemon has deposited."""
        try:
            message = await self._keeper.request("kept", name=_NAME)
        except WherryError as exc:
            _log.warning("the keeper cannot say whether it holds the firewall error=%s", exc)
            return None
        return Fd(message.fds[0]) if message.fds else None

    async def deposit(self, descriptor: int) -> None:
        """Have a descriptor held."""
        try:
            await self._keeper.request("keep", [descriptor], name=_NAME)
        except WherryError as exc:
            _log.warning("the keeper does not hold the firewall error=%s", exc)
