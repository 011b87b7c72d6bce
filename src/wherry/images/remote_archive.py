"""An archive that is to be had at an address: ``import https://...``.

Fetched once, while it is unpacked, through the proxy that the daemon's environment names. Nothing but HTTP is spoken,
wherever the server redirects to.
"""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib import request
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from wherry.errors import CorruptData, InvalidInput, NotFound, SystemFault, WherryError
from wherry.layers.source import Reader

__all__ = ["opened"]

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?![0-9])")  # ``localhost:5000`` has none
_SILENCE: Final = 60.0  # seconds without a byte after which a server is given up
_HANDLERS: Final = (
    request.ProxyHandler,
    request.HTTPHandler,
    request.HTTPSHandler,
    request.HTTPRedirectHandler,
    request.HTTPDefaultErrorHandler,
    request.HTTPErrorProcessor,
    request.UnknownHandler,
)


@contextmanager
def opened(url: str) -> Iterator[Reader]:
    """Ask for an archive. To be used in a thread.

    :raises InvalidInput: it is no address of HTTP.
    :raises NotFound: there is nothing.
    :raises SystemFault: the server does not answer, or not with an archive.
    """
    if not _SCHEME.match(url):
        url = f"http://{url}"  # as dockerd takes it
    try:
        parts = urlsplit(url)
    except ValueError as exc:
        raise InvalidInput(f"{url[:200]!r} is no address that an archive can be fetched from", cause=str(exc)) from exc
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidInput(f"{url[:200]!r} is no address that an archive can be fetched from", hint="http://...")
    opener = request.OpenerDirector()
    for handler in _HANDLERS:
        opener.add_handler(handler())
    try:
        answer = opener.open(request.Request(url, headers={"Accept-Encoding": "identity"}), timeout=_SILENCE)
    except HTTPError as exc:
        exc.close()
        raise _refused(url, exc) from exc
    except (OSError, http.client.HTTPException, ValueError) as exc:
        reason = exc.reason if isinstance(exc, URLError) else exc
        raise SystemFault(f'Get "{url}": {reason}') from exc
    with answer:
        yield _Body(url, answer)


def _refused(url: str, answer: HTTPError) -> WherryError:
    kind = NotFound if answer.code in (404, 410) else SystemFault
    return kind(f"failed to GET {url} with status {answer.code} {answer.reason}")  # Docker's words


class _Body:
    """A response body; a broken connection becomes an error."""

    def __init__(self, url: str, answer: http.client.HTTPResponse) -> None:
        self._url = url
        self._answer = answer

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end.

        :raises SystemFault: the connection broke.
        :raises CorruptData: there is less than was announced.
        """
        try:
            data = self._answer.read(size)
        except (OSError, http.client.HTTPException) as exc:
            raise SystemFault(f'Get "{self._url}": the connection broke: {exc}') from exc
        if not data and size and self._answer.length:
            raise CorruptData(f'Get "{self._url}": {self._answer.length} bytes are missing at the end')
        return data
