"""One HTTP exchange with a registry: bounded in time and size, redirected with care, never through a cookie or a netrc.

A redirection to another host gets no credentials (they are the first host's), and never leads from TLS to plain text.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Final

import aiohttp
from yarl import URL

from wherry import __version__
from wherry.distribution.client import challenge, errors
from wherry.distribution.client.addresses import is_local
from wherry.distribution.client.endpoints import Endpoint, public_trust
from wherry.distribution.client.errors import Transient
from wherry.distribution.client.proxies import Proxies
from wherry.distribution.client.public_resolver import PublicResolver, resolves_to_local
from wherry.distribution.client.settings import Timing
from wherry.errors import CorruptData, InvalidInput, TooLarge

__all__ = ["Body", "Http", "Request", "read_bounded"]

Body = bytes | Callable[[], AsyncIterator[bytes]]

_MAX_REDIRECTS: Final = 5
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_READ_BUFFER: Final = 1 << 20  # a chunk of a blob may be so large; a default of 64 KiB costs a third of the rate
_MAX_ERROR: Final = 64 << 10
_BROKEN: Final = (aiohttp.ClientError, OSError, asyncio.TimeoutError)


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request.

    :param body: bytes, or a function that makes an iterator of them, called for each attempt.
    :param quick: whether the whole response must come within `Timing.document`.
    """

    method: str
    url: URL
    headers: Mapping[str, str]
    body: Body | None = None
    quick: bool = True

    @property
    def name(self) -> str:
        """Method and URL as Go's clients print them, without the query, which may hold secrets."""
        return f'{self.method.capitalize()} "{self.url.with_query(None)}"'


class Http:
    """Connections to registries; belongs to one event loop."""

    def __init__(self, timing: Timing) -> None:
        self.timing: Final = timing
        self._proxies = Proxies()
        self._session = self._open(None)
        self._resolver = PublicResolver()
        self._public = self._open(self._resolver)
        self._local_hosts: dict[str, bool] = {}

    def _open(self, resolver: PublicResolver | None) -> aiohttp.ClientSession:
        timing = self.timing
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=30, resolver=resolver),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=_READ_BUFFER,
            headers={"User-Agent": f"wherry/{__version__}", "Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=timing.connect, sock_read=timing.silence),
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()
        await self._public.close()
        await self._resolver.close()

    async def __aenter__(self) -> Http:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @asynccontextmanager
    async def send(self, request: Request, endpoint: Endpoint) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request, following redirects of GET and HEAD; yields the response, its body unread.

        :raises Transient: the connection could not be made, or broke.
        :raises InvalidInput: the redirect's target is not allowed.
        """
        try:
            async with asyncio.timeout(self.timing.document if request.quick else None):
                response = await self._follow(request, endpoint)
                try:
                    yield response
                finally:
                    response.close() if not response.content.at_eof() else response.release()
        except _BROKEN as exc:
            raise Transient(errors.broken(exc, request.method, request.url)) from exc

    async def _follow(self, request: Request, endpoint: Endpoint) -> aiohttp.ClientResponse:
        url, headers = request.url, dict(request.headers)
        for _ in range(_MAX_REDIRECTS + 1):
            response = await self._once(request, url, headers, endpoint)
            if response.status not in _REDIRECTS or request.method not in ("GET", "HEAD"):
                return response
            response.close()
            target = url.join(URL(response.headers.get("Location", ""), encoded=True))
            _check_redirect(url, target)
            if target.origin() != url.origin():
                headers.pop("Authorization", None)
            url = target
        raise InvalidInput(f"{request.name}: stopped after {_MAX_REDIRECTS} redirects")

    async def _once(
        self, request: Request, url: URL, headers: Mapping[str, str], endpoint: Endpoint
    ) -> aiohttp.ClientResponse:
        body = request.body() if callable(request.body) else request.body
        ours = url.origin() == endpoint.url.origin()
        proxy = self._proxies.of(url)
        session = self._session if ours or proxy or await self._leads_here(endpoint) else self._public
        return await session.request(
            request.method,
            url,
            headers=headers,
            data=body,
            allow_redirects=False,
            ssl=endpoint.tls if ours and endpoint.tls is not None else public_trust(),
            proxy=proxy,
        )

    async def _leads_here(self, endpoint: Endpoint) -> bool:
        host = endpoint.url.host or ""
        if host not in self._local_hosts:
            self._local_hosts[host] = await resolves_to_local(host)
        return self._local_hosts[host]


def _check_redirect(url: URL, target: URL) -> None:
    if target.scheme not in ("http", "https") or not target.host:
        raise InvalidInput(f"the registry redirects to {str(target)[:200]!r}, which is no place for a blob")
    if url.scheme == "https" and target.scheme != "https":
        raise InvalidInput(f"the registry redirects from TLS to plain text, to {target.host!r}", hint="refused")
    if is_local(target.host) and not is_local(url.host or ""):
        raise InvalidInput(f"the registry redirects to this machine itself, to {target.host!r}", hint="refused")


async def read_bounded(response: aiohttp.ClientResponse, limit: int, what: str) -> bytes:
    """Read a whole body, bounded.

    :raises TooLarge: it's larger than `limit` bytes; no more than that is read.
    :raises CorruptData: it's shorter than announced.
    """
    announced = response.content_length
    if announced is not None and announced > limit:
        raise TooLarge(f"{what} has {announced} bytes, where {limit} are allowed")
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > limit:
            raise TooLarge(f"{what} has more than the {limit} bytes allowed")
    if announced is not None and len(data) != announced and response.method != "HEAD":
        raise CorruptData(f"{what} has {len(data)} bytes, not {announced}")
    return bytes(data)


async def failure(response: aiohttp.ClientResponse, request: Request) -> Exception:
    """The error of a response with an error status; `Transient` where another attempt may help."""
    try:
        body = await read_bounded(response, _MAX_ERROR, "the registry's error")
    except (TooLarge, CorruptData):
        body = b""
    challenges = challenge.parse(response.headers.getall("WWW-Authenticate", []))
    lacks_scope = any(one.parameters.get("error") == "insufficient_scope" for one in challenges)
    error = errors.of_answer(response.status, body, request.name, lacks_scope=lacks_scope)
    if response.status in errors.TRANSIENT_STATUSES:
        return Transient(error, retry_after(response.headers.get("Retry-After", "")))
    return error


def retry_after(text: str) -> float | None:
    """Seconds to wait, by the header ``Retry-After`` (RFC 9110, 10.2.3): a number, or a date."""
    if re.fullmatch(r"\s*[0-9]{1,9}\s*", text):
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    return max(0.0, moment.timestamp() - time.time())
