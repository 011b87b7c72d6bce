"""A build's progress as ``version=2`` has it: BuildKit's StatusResponse in base64, in a line of JSON each."""

from __future__ import annotations

import base64
from contextlib import aclosing
from typing import TYPE_CHECKING

from wherry.api.buildkit.status import batches
from wherry.docker.progress import ProgressMessage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from wherry.build.model.progress import Progress

__all__ = ["traces"]


async def traces(events: AsyncIterator[Progress]) -> AsyncGenerator[ProgressMessage, None]:
    """The messages of a build's events; many events go into one. To be closed."""
    async with aclosing(batches(events)) as messages:
        async for message in messages:
            encoded = base64.b64encode(message.SerializeToString()).decode()
            yield {"id": "moby.buildkit.trace", "aux": encoded}
