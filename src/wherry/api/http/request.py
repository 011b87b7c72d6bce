"""One request, as the handlers see it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from wherry.api.http import gojson, query
from wherry.docker.filters import check_names
from wherry.errors import InvalidInput, TooLarge

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from aiohttp.web import BaseRequest

    from wherry.api.http.query import Filters
    from wherry.api.http.versions import Version

T = TypeVar("T")

BODY_LIMIT: Final = 16 << 20  #: bytes of JSON in a request's body; dockerd has no limit but its memory
_SMALL: Final = 64 << 10  #: bytes that are read on the event loop


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """A request whose path has been understood.

    Unknown members of a JSON body are ignored, as dockerd does: clients are newer and older than their daemon.
    """

    http: BaseRequest  #: aiohttp's object
    version: Version  #: what the client put into the path, or the newest
    path: Mapping[str, str]  #: the parts of the path that have a name

    @property
    def _query(self) -> Mapping[str, str]:
        return self.http.rel_url.query

    @property
    def id(self) -> str:
        """The name or ID in the path."""
        return self.path["id"]

    def text(self, name: str, default: str = "") -> str:
        """Return a query parameter as it is."""
        return self._query.get(name, default)

    def texts(self, name: str) -> list[str]:
        """Return all values of a query parameter that may be given more than once."""
        return list(self.http.rel_url.query.getall(name, []))

    def platforms(self) -> list[str]:
        """Return the values of the query parameter ``platform``: ``linux/arm64``."""
        return [query.platform(text) for text in self.texts("platform") if text]

    def platform(self) -> str:
        """Return the only value of the query parameter ``platform``, or an empty string.

        :raises InvalidInput: there are several.
        """
        given = self.platforms()
        if len(given) > 1:
            raise InvalidInput("multiple platforms is not supported")
        return given[0] if given else ""

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Return a boolean query parameter."""
        return query.flag(self._query, name, default=default)

    def integer(self, name: str, *, default: int = 0) -> int:
        """Return a numeric query parameter."""
        return query.integer(self._query, name, default=default)

    def optional_integer(self, name: str) -> int | None:
        """Return a numeric query parameter, or None."""
        return query.optional_integer(self._query, name)

    def side(self, name: str, what: str) -> int:
        """Return the height or width of a terminal."""
        return query.side(self._query, name, what)

    def filters(self, accepted: Container[str] | None = None) -> Filters:
        """Return the query parameter ``filters``.

        :param accepted: the only ones that there are; None where the engine checks that.
        """
        given = query.filters(self._query)
        if accepted is not None:
            check_names(given, accepted)
        return given

    def moment(self, name: str) -> int | None:
        """Return a point in time in nanoseconds since the epoch, or None."""
        return query.optional_moment(self._query, name, now=time.time_ns())

    async def json(self, kind: type[T], *, empty: T | None = None) -> T:
        """Return the JSON body; see `wherry.api.http.gojson` for how it is read.

        :param kind: its type; members that are not in it are ignored.
        :param empty: what stands for a missing body; without it a body must be there.
        :raises InvalidInput: the content type, the JSON or a member's type is wrong, in dockerd's words.
        :raises TooLarge: it is longer than `BODY_LIMIT`.
        """
        body = await self._body()
        if not body and empty is not None:
            return empty
        self._require_json_type()
        if len(body) > _SMALL:
            return await asyncio.to_thread(gojson.decode, body, kind)
        return gojson.decode(body, kind)

    async def _body(self) -> bytes:
        body = bytearray()
        async for data in self.http.content.iter_any():
            body += data
            if len(body) > BODY_LIMIT:
                raise TooLarge(f"a request's body of JSON may have {BODY_LIMIT >> 20} MB at most")
        return bytes(body)

    def _require_json_type(self) -> None:
        given = self.http.headers.get("Content-Type", "")
        if self.http.content_type != "application/json":
            raise InvalidInput(f"unsupported Content-Type header ({given}): must be 'application/json'")


Json = dict[str, Any]
