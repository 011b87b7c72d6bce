"""Error responses: the specification's codes, as JSON.

The codes of OCI distribution specification 1.1, "Error Codes", and those that the distribution project added and
clients know.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from wherry.errors import (
    Conflict,
    CorruptData,
    Forbidden,
    InvalidInput,
    NotFound,
    OutOfSpace,
    TooLarge,
    Unavailable,
    Unsupported,
    WherryError,
)
from wherry.oci.codec import encode

__all__ = ["STATUS", "Refusal", "of_error"]

#: Code -> status, where nothing else is said.
STATUS: Final = {
    "BLOB_UNKNOWN": 404,
    "BLOB_UPLOAD_INVALID": 400,
    "BLOB_UPLOAD_UNKNOWN": 404,
    "DENIED": 403,
    "DIGEST_INVALID": 400,
    "MANIFEST_BLOB_UNKNOWN": 404,
    "MANIFEST_INVALID": 400,
    "MANIFEST_UNKNOWN": 404,
    "NAME_INVALID": 400,
    "NAME_UNKNOWN": 404,
    "PAGINATION_NUMBER_INVALID": 400,
    "RANGE_INVALID": 416,
    "SIZE_INVALID": 400,
    "TAG_INVALID": 400,
    "TOOMANYREQUESTS": 429,
    "UNAUTHORIZED": 401,
    "UNAVAILABLE": 503,
    "UNKNOWN": 500,
    "UNSUPPORTED": 405,
}


@dataclass(eq=False)
class Refusal(Exception):  # an answer, which happens to travel as an exception
    """An answer that is no success.

    :param code: one of :data:`STATUS`.
    :param message: for people.
    :param detail: for programs; anything that is JSON.
    :param status: in place of the code's own.
    :param headers: to be sent with it.
    """

    code: str
    message: str
    detail: Any = None
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(self.message)
        self.status = self.status or STATUS[self.code]

    def body(self) -> bytes:
        """The JSON."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.detail is not None:
            error["detail"] = self.detail
        return encode({"errors": [error]})


def of_error(error: WherryError) -> Refusal:
    """The answer to a request that ran into an error of wherry's."""
    for kind, code, status in (
        (OutOfSpace, "UNAVAILABLE", 507),
        (CorruptData, "UNKNOWN", 500),
        (NotFound, "BLOB_UNKNOWN", 404),
        (Conflict, "BLOB_UPLOAD_INVALID", 409),
        (TooLarge, "SIZE_INVALID", 413),
        (Forbidden, "DENIED", 403),
        (InvalidInput, "MANIFEST_INVALID", 400),
        (Unsupported, "UNSUPPORTED", 405),
        (Unavailable, "UNAVAILABLE", 503),
    ):
        if isinstance(error, kind):
            return Refusal(code, str(error), status=status)
    return Refusal("UNKNOWN", str(error))
