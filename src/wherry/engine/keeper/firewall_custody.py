"""The keeper holds descriptors that have to outlive the daemon: see `wherry.network.firewall.custody` for one."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from wherry.errors import WherryError
from wherry.linux.fd import Fd

if TYPE_CHECKING:
    from wherry.engine.keeper.connection import KeeperConnection

__all__ = ["KeeperCustody"]

_log: Final = logging.getLogger(__name__)


class KeeperCustody:
    """A `wherry.network.firewall.custody.Custody`.

    :param name: of the descriptor.
    """

    def __init__(self, keeper: KeeperConnection, name: str) -> None:
        self._keeper = keeper
        self._name = name

    async def recall(self) -> Fd | None:
        """What a former daemon has deposited."""
        try:
            message = await self._keeper.request("kept", name=self._name)
        except WherryError as exc:
            _log.warning("the keeper cannot say whether it holds a descriptor name=%s error=%s", self._name, exc)
            return None
        return Fd(message.fds[0]) if message.fds else None

    async def deposit(self, descriptor: int) -> None:
        """Have a descriptor held."""
        try:
            await self._keeper.request("keep", [descriptor], name=self._name)
        except WherryError as exc:
            _log.warning("the keeper does not hold a descriptor name=%s error=%s", self._name, exc)
