"""Requests to web servers, bounded in time and size, with redirects followed.

An address with a user and a password is asked with them; they are in no error and no record.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import aiohttp
from yarl import URL

from wherry import __version__
from wherry.distribution.client.errors import reason_of
from wherry.distribution.client.proxies import Proxies
from wherry.errors import CorruptData, InvalidInput, NotFound, SystemFault, TooLarge
from wherry.legible import without_user

__all__ = ["Web", "parse_url", "pieces", "shown"]

_MAX_REDIRECTS: Final = 10
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_CONNECT: Final = 30.0  # seconds
_SILENCE: Final = 60.0  # seconds without a byte after which a server is given up
_BUFFER: Final = 1 << 20
_LARGEST: Final = 64 << 30  # bytes
_MAX_HEADER: Final = 64 << 10
_MAX_URL: Final = 8192
# The last one is what addresses with an impossible host are refused with, some of them not before they are used.
_BROKEN: Final = (aiohttp.ClientError, OSError, ValueError)


class Web:
    """Connections to web servers; belongs to one event loop."""

    def __init__(self) -> None:
        self._proxies = Proxies()
        self._session = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=_BUFFER,
            max_line_size=_MAX_HEADER,
            max_field_size=_MAX_HEADER,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=_SILENCE),
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    @asynccontextmanager
    async def get(self, url: str, headers: Mapping[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
        """Ask for a file; yields the answer, its body unread: of status 200 or 304.

        :raises NotFound: there is none.
        :raises SystemFault: the server does not answer, or not with a file.
        """
        try:
            response = await self._follow(url, headers)
        except _BROKEN as exc:
            raise _failed(url, exc) from exc
        try:
            _check(response, url)
            yield response
        except (aiohttp.ClientError, OSError) as exc:
            raise _failed(url, exc) from exc
        finally:
            response.close()

    async def _follow(self, text: str, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        url, sent = parse_url(text), {"User-Agent": f"wherry/{__version__}", "Accept-Encoding": "identity", **headers}
        for _ in range(_MAX_REDIRECTS + 1):
            response = await self._session.get(url, headers=sent, allow_redirects=False, proxy=self._proxies.of(url))
            if response.status not in _REDIRECTS or "Location" not in response.headers:
                return response
            response.close()
            target = _target(text, url, response.headers["Location"])
            if target.origin() != url.origin():
                sent.pop("Authorization", None)
            url = target
        raise InvalidInput(f'Get "{shown(text)}": stopped after {_MAX_REDIRECTS} redirects')


def _failed(url: str, cause: Exception) -> SystemFault:
    return SystemFault(f'Get "{shown(url)}": {reason_of(cause, parse_url(url))}')


def _target(asked: str, url: URL, location: str) -> URL:
    """Where a redirect leads."""
    try:
        target = url.join(URL(location, encoded=True))
        if target.scheme in ("http", "https") and target.host and target.origin():  # read when they are asked for
            return target
    except ValueError as exc:
        raise SystemFault(f'Get "{shown(asked)}": the server redirects to what is no address') from exc
    raise InvalidInput(f'Get "{shown(asked)}": the server redirects to {without_user(str(target))[:200]!r}')


def _check(response: aiohttp.ClientResponse, url: str) -> None:
    status = response.status
    if status == 304 or 200 <= status < 300:
        return
    kind = NotFound if status in (404, 410) else SystemFault
    raise kind(f"failed to GET {shown(url)} with status {status} {response.reason or ''}".rstrip())


async def pieces(response: aiohttp.ClientResponse, url: str) -> AsyncIterator[bytes]:
    """The body.

    :raises TooLarge: it is larger than anybody's file.
    :raises CorruptData: it is shorter than announced.
    """
    announced, count = response.content_length, 0
    if announced is not None and announced > _LARGEST:
        raise TooLarge(f"{shown(url)} has {announced} bytes, where {_LARGEST} are allowed")
    async for piece in response.content.iter_any():
        count += len(piece)
        if count > _LARGEST:
            raise TooLarge(f"{shown(url)} has more than the {_LARGEST} bytes allowed")
        yield piece
    if announced is not None and count != announced:
        raise CorruptData(f"{shown(url)} has {count} bytes, not the {announced} that were announced")


def parse_url(text: str) -> URL:
    """An address of HTTP.

    :raises InvalidInput: it is none.
    """
    try:
        url = URL(text)
    except ValueError as exc:
        raise InvalidInput(f"invalid URL {without_user(text)[:200]!r}", cause=without_user(str(exc))) from exc
    if url.scheme not in ("http", "https") or not url.host or len(text) > _MAX_URL:
        raise InvalidInput(f"invalid URL {without_user(text)[:200]!r}")
    return url


def shown(text: str) -> str:
    """An address for people: without the user, who may be a token, and without a password."""
    url = parse_url(text)
    if url.user is None and url.password is None:
        return str(url)
    hidden = url.with_user("xxxxx")
    return str(hidden.with_password("xxxxx") if url.password else hidden)
