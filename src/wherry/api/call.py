"""One request, as the handlers see it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from wherry.api import query
from wherry.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp.web import BaseRequest

    from wherry.api.query import Filters
    from wherry.api.versions import Version

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call:
    """A request whose path has been understood.

    Unknown members of a JSON body are ignored, as dockerd does: clients are newer and older than their daemon.
    """

    request: BaseRequest
    version: Version  #: what the client put into the path, or the newest
    path: Mapping[str, str]  #: the parts of the path that have a name

    @property
    def _query(self) -> Mapping[str, str]:
        return self.request.rel_url.query

    @property
    def id(self) -> str:
        """The name or ID in the path."""
        return self.path["id"]

    def text(self, name: str, default: str = "") -> str:
        """Return a query parameter as it is."""
        return self._query.get(name, default)

    def texts(self, name: str) -> list[str]:
        """Return all values of a query parameter that may be given more than once."""
        return list(self.request.rel_url.query.getall(name, []))

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

    def filters(self) -> Filters:
        """Return the query parameter ``filters``."""
        return query.filters(self._query)

    def moment(self, name: str) -> int | None:
        """Return a point in time in nanoseconds since the epoch, or None."""
        return query.optional_moment(self._query, name, now=time.time_ns())

    async def json(self, kind: type[T], *, empty: T | None = None) -> T:
        """Return the JSON body.

        :param kind: its type; members that are not in it are ignored.
        :param empty: what stands for a missing body; without it a body must be there.
        :raises InvalidInput: the content type, the JSON or a member's type is wrong, in dockerd's words.
        """
        body = await self.request.read()
        if not body and empty is not None:
            return empty
        self._require_json_type()
        if not body.strip():
            raise InvalidInput("invalid JSON: got EOF while reading request body")
        try:
            return msgspec.json.decode(body, type=kind)
        except msgspec.DecodeError as error:
            raise InvalidInput("invalid JSON", cause=_lower_first(str(error))) from error

    def _require_json_type(self) -> None:
        given = self.request.headers.get("Content-Type", "")
        if self.request.content_type != "application/json":
            raise InvalidInput(f"unsupported Content-Type header ({given}): must be 'application/json'")


def _lower_first(text: str) -> str:
    if text[1:2].isupper():  # JSON
        return text
    return text[:1].lower() + text[1:]


Json = dict[str, Any]
