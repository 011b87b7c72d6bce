"""Error responses of a daemon as the exceptions of :mod:`wherry.errors`, by status code."""

from __future__ import annotations

from wherry import errors

__all__ = ["ErrorResponse", "error_from_response"]

_KINDS: dict[int, type[errors.WherryError]] = {
    304: errors.NotModified,
    400: errors.InvalidInput,
    401: errors.Unauthenticated,
    403: errors.Forbidden,
    404: errors.NotFound,
    409: errors.Conflict,
    413: errors.TooLarge,
    501: errors.Unsupported,
    503: errors.Unavailable,
}


class ErrorResponse(Exception):
    """The HTTP response behind an error: the ``__cause__`` of every error that the daemon reported.

    :param status: the HTTP status code.
    :param message: the daemon's message, unchanged.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


def error_from_response(status: int, reason: str, body: bytes) -> errors.WherryError:
    """The exception for an error response.

    :param status: its status code, 304 or at least 400.
    :param reason: the reason phrase of the status line.
    :param body: ``{"message": ...}``, or the text of a proxy.
    """
    message = _message(body) or f"{status} {reason}".strip()
    error = _KINDS.get(status, errors.SystemFault)(message)
    error.__cause__ = ErrorResponse(status, message)
    return error


def _message(body: bytes) -> str:
    from wherry.client.codec import decode

    try:
        answer = decode(body)
    except ValueError:
        return body.decode("utf-8", "replace").strip()
    if isinstance(answer, dict):
        return str(answer.get("message", "")).strip()
    return str(answer)
