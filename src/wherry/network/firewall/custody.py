"""What holds the firewall's socket while no daemon runs.

Where the kernel can do it, the tables belong to the socket that made them, and no other program can flush them: not
``nft flush ruleset``, with which most hosts' own firewall begins when it is reloaded. A socket lasts as long as some
process has it; so a process that outlives the daemon has it, too, and gives it back to the next one. When it is closed
all the same the tables stay, and any program can change them, until a daemon owns them again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from wherry.linux.fd import Fd

__all__ = ["Custody"]


class Custody(Protocol):
    """A process that outlives the daemon. Neither method raises: without it, the tables belong to this daemon alone."""

    async def recall(self) -> Fd | None:
        """What a former daemon has deposited; None if there is nothing."""

    async def deposit(self, descriptor: int) -> None:
        """Have a duplicate of a descriptor held, in place of the one before."""
