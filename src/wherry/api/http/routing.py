"""From a method and a path to a handler.

A pattern is a path with names in braces; ``{name}`` takes one part and, written ``{name:path}``, many: image names have
slashes in them. The version prefix is taken off before, so a route is written once. (aiohttp's own dispatcher belongs
to its Application, where the prefix would make every route one that has to be tried.)
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from wherry.api.http import versions
from wherry.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from aiohttp.web import StreamResponse

    from wherry.api.http.request import ApiRequest

    Handler = Callable[[ApiRequest], Awaitable[StreamResponse]]

_PREFIX: Final = re.compile(r"/v([0-9]{1,4}(?:\.[0-9]{1,4})?)(?=/)")
_NAME: Final = re.compile(r"\{(\w+)(:path)?\}")


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of the API.

    :param streaming: the answer goes on until the client has enough: when the client is gone the handler is cancelled.
        Other handlers end what they began, whether or not somebody still waits for the answer.
    """

    method: str
    pattern: str
    handler: Handler
    streaming: bool = False


class Router:
    """All routes, by method and first part of the path; the first that fits is taken."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes: dict[tuple[str, str], list[Route]] = {}
        for route in routes:
            self._routes.setdefault((route.method, _first_part(route.pattern)), []).append(route)

    def find(self, method: str, path: str) -> tuple[Route, versions.Version, dict[str, str]]:
        """Return the route, the client's version and the named parts of the path.

        :raises NotFound: no such page.
        :raises InvalidInput: the version is one that is not answered.
        """
        version, path = split_version(path)
        for route in self._routes.get((method, _first_part(path)), ()):
            if match := _compile(route.pattern).match(path):
                return route, version, match.groupdict()
        raise NotFound("page not found")


def split_version(path: str) -> tuple[versions.Version, str]:
    """Return the version that a path begins with (the newest, if it does not) and the rest.

    :raises InvalidInput: the version is one that is not answered.
    """
    match = _PREFIX.match(path)
    if match is None:
        return versions.NEWEST, path
    return versions.parse(match[1]), path[match.end() :]


def _first_part(path: str) -> str:
    return path.split("/", 2)[1] if path.startswith("/") else ""


@functools.cache  # of which most are never asked for; all of them would be a tenth of the time to the first answer
def _compile(pattern: str) -> re.Pattern[str]:
    expression, end = "", 0
    for name in _NAME.finditer(pattern):
        expression += re.escape(pattern[end : name.start()])
        expression += f"(?P<{name[1]}>{'.+' if name[2] else '[^/]+'})"
        end = name.end()
    return re.compile(expression + re.escape(pattern[end:]) + r"\Z")
