"""Notifications: the distribution project's envelope, sent to webhooks.

Each webhook has a bounded queue and one task. Who does not listen is tried again, at growing intervals; when the queue
overflows, the oldest events go, and are counted. Nothing of this is ever waited for by a request.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from wherry.registry.server.settings import seconds

if TYPE_CHECKING:
    from collections.abc import Iterable

    import aiohttp

    from wherry.registry.server.call import Call
    from wherry.registry.server.settings import Webhook

__all__ = ["MEDIA_TYPE", "Events"]

MEDIA_TYPE: Final = "application/vnd.docker.distribution.events.v1+json"
_log = logging.getLogger(__name__)
_BATCH: Final = 50
_LONGEST_PAUSE: Final = 60.0


class Events:
    """Sends events to all webhooks.

    :param public_url: how clients reach this registry, for the events' ``url``.
    """

    def __init__(self, webhooks: Iterable[Webhook], public_url: str) -> None:
        self._queues = [_Queue(webhook) for webhook in webhooks]
        self._public_url = public_url.rstrip("/")
        self._instance = secrets.token_hex(16)
        self._address = socket.gethostname()

    @property
    def dropped(self) -> int:
        """The number of dropped events."""
        return sum(queue.dropped for queue in self._queues)

    def note(
        self,
        action: str,
        call: Call,
        digest: str,
        size: int | None = None,
        media_type: str = "",
        *,
        tag: str = "",
        source: str = "",
    ) -> None:
        """Something was pushed, pulled, mounted or deleted."""
        interested = [queue for queue in self._queues if action in queue.webhook.actions]
        if not interested:
            return
        event = self._event(action, call, _target(call.name, digest, size, media_type, tag=tag, source=source))
        for queue in interested:
            queue.add(event)

    async def close(self) -> None:
        """Stop; undelivered events are dropped and logged."""
        for queue in self._queues:
            await queue.close()

    def _event(self, action: str, call: Call, target: dict[str, Any]) -> dict[str, Any]:
        request = call.request
        kind = "manifests" if target.get("mediaType", "").endswith("+json") else "blobs"
        base = self._public_url or f"{request.scheme}://{request.host}"
        target["url"] = f"{base}/v2/{call.name}/{kind}/{target['digest']}"
        return {
            "id": secrets.token_hex(16),
            "timestamp": datetime.now(UTC).isoformat(),
            "action": action,
            "target": target,
            "request": {
                "id": secrets.token_hex(16),
                "addr": request.remote or "",
                "host": request.host,
                "method": request.method,
                "useragent": request.headers.get("User-Agent", ""),
            },
            "actor": {"name": call.grant.identity.name} if call.grant.identity.known else {},
            "source": {"addr": self._address, "instanceID": self._instance},
        }


def _target(name: str, digest: str, size: int | None, media_type: str, *, tag: str, source: str) -> dict[str, Any]:
    target: dict[str, Any] = {"digest": str.__str__(digest), "repository": name}
    if media_type:
        target["mediaType"] = media_type
    if size is not None:
        target |= {"size": size, "length": size}
    if tag:
        target["tag"] = tag
    if source:
        target["fromRepository"] = source
    return target


class _Queue:
    """The queue of one webhook."""

    def __init__(self, webhook: Webhook) -> None:
        self.webhook: Final = webhook
        self.dropped = 0
        self._waiting: deque[dict[str, Any]] = deque()
        self._task: asyncio.Task[None] | None = None

    def add(self, event: dict[str, Any]) -> None:
        """Queue an event, and start the sender if it is idle."""
        self._waiting.append(event)
        if len(self._waiting) > self.webhook.queue:
            self._waiting.popleft()
            self.dropped += 1
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._deliver_all())

    async def close(self) -> None:
        """Send for one more second, and stop."""
        if self._task is None:
            return
        await asyncio.wait([self._task], timeout=1)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if self._waiting:
            _log.warning("%d events for %s are lost", len(self._waiting), self.webhook.url)

    async def _deliver_all(self) -> None:
        import aiohttp  # noqa: PLC0415 - the client's half; most registries have no webhook

        timeout = aiohttp.ClientTimeout(total=seconds(self.webhook.timeout))
        async with aiohttp.ClientSession(timeout=timeout, headers=self.webhook.headers) as session:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
                await self._deliver(session, batch)

    async def _deliver(self, session: aiohttp.ClientSession, batch: list[dict[str, Any]]) -> None:
        """Tell of some events, however often it takes, up to the limit."""
        body = msgspec.json.encode({"events": batch})
        for attempt in range(self.webhook.retries + 1):
            if attempt:
                await asyncio.sleep(min(_LONGEST_PAUSE, 0.1 * 2**attempt))
            problem = await self._post(session, body)
            if problem is None:
                return
        self.dropped += len(batch)
        _log.warning("%d events dropped: %s does not take them: %s", len(batch), self.webhook.url, problem)

    async def _post(self, session: aiohttp.ClientSession, body: bytes) -> str | None:
        """Post once. :returns: what went wrong."""
        try:
            async with session.post(
                self.webhook.url, data=body, headers={"Content-Type": MEDIA_TYPE}, allow_redirects=False
            ) as answer:
                return None if 200 <= answer.status < 300 else f"status {answer.status}"
        except (OSError, TimeoutError, _failures()) as error:
            return str(error) or type(error).__name__


def _failures() -> type[Exception]:
    """The exceptions of a failed exchange in aiohttp."""
    import aiohttp  # noqa: PLC0415 - as above

    return aiohttp.ClientError
