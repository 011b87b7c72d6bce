"""Map errors to HTTP answers; the only place that does."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from wherry import errors
from wherry.api.http.answers import empty, reply

if TYPE_CHECKING:
    from aiohttp.web import Response

log = logging.getLogger(__name__)

#: In the log when a handler raised what no handler should; tests look for it.
UNEXPECTED: Final = "unexpected error in a request"

#: The first class that fits decides; the tree is drawn in `wherry.errors`.
STATUSES: Final[tuple[tuple[type[errors.WherryError], int], ...]] = (
    (errors.NotModified, 304),
    (errors.InvalidInput, 400),
    (errors.Unauthenticated, 401),
    (errors.Forbidden, 403),
    (errors.NotFound, 404),
    (errors.Conflict, 409),
    (errors.TooLarge, 413),
    (errors.SystemFault, 500),
    (errors.Unsupported, 501),
    (errors.Unavailable, 503),
)


def status_of(error: BaseException) -> int:
    """Return the HTTP status of an error; what wherry did not raise on purpose is a 500."""
    return next((status for kind, status in STATUSES if isinstance(error, kind)), 500)


def sentence_of(error: BaseException) -> str:
    """Return what people read."""
    if isinstance(error, errors.WherryError):
        return str(error)
    text = str(error)
    return f"internal error: {type(error).__name__}" + (f": {text}" if text else "")


def answer(error: BaseException, what: str) -> Response:
    """Return the HTTP answer for an error, and write unexpected ones to the log with their traceback.

    :param error: what the handler raised.
    :param what: the request, for the log: ``"POST /containers/create"``.
    """
    status = status_of(error)
    if status >= 500:
        note(error, what)
    if status == 304:
        return empty(304)
    return reply({"message": sentence_of(error)}, status=status)


def note(error: BaseException, what: str) -> None:
    """Write an error to the log, an unexpected one with its traceback; for the parameters see :func:`answer`."""
    if isinstance(error, errors.WherryError):
        log.warning("request failed", extra={"request": what, "status": status_of(error), "error": str(error)})
    else:
        log.error(UNEXPECTED, exc_info=error, extra={"request": what})
