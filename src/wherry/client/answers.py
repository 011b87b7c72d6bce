"""What a daemon's refusal becomes: one of :mod:`wherry.errors`, chosen by the status code."""

from __future__ import annotations

from wherry import errors

__all__ = ["DaemonAnswer", "failure"]

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


class DaemonAnswer(Exception):
    """The HTTP answer behind an error: the ``__cause__`` of every error that a daemon, and not this side, reported.

    :param status: the HTTP status code.
    :param message: the daemon's sentence, as it came.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


def failure(status: int, reason: str, body: bytes) -> errors.WherryError:
    """Make the error of a refusal.

    :param status: its status code, 304 or at least 400.
    :param reason: the words beside the status code.
    :param body: ``{"message": ...}``, or whatever a proxy in between wrote.
    """
    message = _message(body) or f"{status} {reason}".strip()
    error = _KINDS.get(status, errors.SystemFault)(message)
    error.__cause__ = DaemonAnswer(status, message)
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
