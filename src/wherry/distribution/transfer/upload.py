"""Upload one blob to a registry, resumed where it broke."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Protocol

from wherry.content.durable import disk_errors
from wherry.distribution.client.errors import Transient
from wherry.distribution.client.repository import Repository, Upload
from wherry.distribution.client.retry import Backoff, retry
from wherry.distribution.client.settings import RegistrySettings
from wherry.errors import NotFound, WherryError
from wherry.oci.digest import Digest

__all__ = ["Identify", "Outgoing", "upload", "upload_bytes"]

_PROGRESS = 1 << 20

Identify = Callable[[], Awaitable[Digest]]


class Outgoing(Protocol):
    """A blob to be sent, perhaps one that is only being made."""

    @property
    def progress(self) -> int:
        """Bytes done, in the unit of the size that is displayed."""
        ...

    def pieces(self, offset: int) -> AsyncIterator[bytes]:
        """Its bytes from an offset on."""
        ...


class _Watched:
    """A blob on its way out, which tells a connection that broke from bytes that could not be had.

    :ivar failure: why they could not.
    """

    def __init__(self, source: Outgoing) -> None:
        self._source = source
        self.failure: WherryError | None = None

    async def pieces(self, offset: int) -> AsyncIterator[bytes]:
        """Its bytes from an offset on."""
        try:
            with disk_errors("read a blob"):
                async for piece in self._source.pieces(offset):
                    yield piece
        except WherryError as exc:
            self.failure = exc
            raise


async def upload(
    repository: Repository,
    source: Outgoing,
    identify: Identify,
    settings: RegistrySettings,
    begun: Upload | None = None,
) -> None:
    """Send a blob.

    The whole of it goes in one PATCH, as Docker sends it, which every registry takes; when that breaks, the registry
    is asked how much arrived.

    :param identify: its digest, known when all of it was given out.
    :param begun: an upload that the registry has begun already.
    :raises WherryError: the registry does not want it, or cannot be reached for good; or the blob cannot be had.
    """

    async def begin() -> Upload:
        return await _begin(repository)

    current: Upload = begun if begun is not None else await retry(begin, settings)
    backoff = Backoff(settings)
    watched = _Watched(source)
    offset = 0
    while True:
        try:
            current = await repository.append(current, offset, partial(watched.pieces, offset), None)
            break
        except Transient as failure:
            if watched.failure is not None:
                raise watched.failure from failure
            await backoff.wait(failure)
        before = offset
        try:
            current, offset = await repository.position(current)
        except NotFound:
            current, offset = await retry(begin, settings), 0
        except Transient as failure:
            await backoff.wait(failure)
            continue
        if offset - before >= _PROGRESS:
            backoff.progressed()
    await retry(partial(_finish, repository, current, await identify()), settings)


async def upload_bytes(repository: Repository, data: bytes, digest: Digest, settings: RegistrySettings) -> None:
    """Send a small blob, unless it is there."""

    async def send() -> None:
        if await repository.size_of(digest) is None:
            await repository.finish_upload(await _begin(repository), digest, data)

    await retry(send, settings)


async def _begin(repository: Repository) -> Upload:
    begun = await repository.begin_upload()
    if begun is None:
        raise WherryError("the registry does not begin an upload")
    return begun


async def _finish(repository: Repository, current: Upload, digest: Digest) -> None:
    """End an upload; when the answer to that was lost, the upload is gone but the blob is there."""
    try:
        await repository.finish_upload(current, digest)
    except NotFound:
        if await repository.size_of(digest) is None:
            raise
