"""What builds share, and what is a build's own."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

from wherry.build.cache.cache import BuildCache
from wherry.build.cache.remote import ImportedCache
from wherry.build.cache.threads import Threads
from wherry.build.model.executor import Limits
from wherry.build.model.failure import OnFailure
from wherry.build.model.progress import Progress
from wherry.build.model.session import BuildSession
from wherry.build.model.source_policy import SourcePolicy
from wherry.build.solver.contract import Files
from wherry.build.solver.entitlements import Permissions
from wherry.build.solver.jobs import Jobs
from wherry.build.solver.leftovers import Leftovers
from wherry.build.solver.node import Node
from wherry.build.solver.operations import Operations
from wherry.build.sources.contract import Sources

__all__ = ["CANCELLED", "BuildContext", "Member", "Solver"]

CANCELLED: Final = "context canceled"
"""Go's words; buildx recognises a step that was cancelled by them."""


@dataclass(frozen=True, kw_only=True)
class Solver:
    """What all builds share."""

    cache: BuildCache
    jobs: Jobs
    operations: Operations
    sources: Sources
    files: Files
    threads: Threads


@dataclass(frozen=True, kw_only=True)
class BuildContext:
    """What is a build's own.

    :param token: unique: of the identities of what is carried out anew, whatever the cache has.
    :param show: takes its progress.
    :param room: waits while there is much of that which nobody has taken.
    :param policy: what may be fetched, and what instead.
    :param source_text: of a file, as the client has sent it, by its name.
    :param imports: the cache of others that is believed; None: of nobody.
    :param explain: why a vertex was carried out, or taken from the cache.
    :param on_failure: told of steps that fail, before the build does.
    :param keeps_failed: whether it keeps what failed steps have left.
    """

    token: str
    session: BuildSession
    show: Callable[[Progress], None]
    room: Callable[[], Coroutine[Any, Any, None]]
    limits: Limits = field(default_factory=Limits)
    permissions: Permissions = field(default_factory=Permissions)
    policy: SourcePolicy = field(default_factory=SourcePolicy)
    source_text: Callable[[str], bytes] = lambda name: b""
    imports: ImportedCache | None = None
    explain: Callable[[Node, bool], str] = lambda node, cached: ""
    on_failure: OnFailure | None = None
    keeps_failed: bool = False


@dataclass(eq=False)
class Member:
    """A vertex of a build that waits for a job."""

    node: Node
    context: BuildContext

    @property
    def session(self) -> BuildSession:
        """Of the build's client."""
        return self.context.session

    @property
    def keeps_failed(self) -> bool:
        """Whether it wants what a failed step has left."""
        return self.context.keeps_failed

    def leave(self, leftovers: Leftovers) -> None:
        """Take what a failed step has left, which was held once for it."""
        self.node.leftovers.append(leftovers)

    def show(self, event: Progress) -> None:
        """Show something of the job."""
        self.node.show(event)

    async def room(self) -> None:
        """Wait while there is much that nobody has taken yet."""
        await self.context.room()
