"""Every error that wherry raises on purpose.

The tree is closed; code chooses by class, people read the sentence::

    WherryError
     ├─ InvalidInput            the request is wrong                       HTTP 400
     │   ├─ CommandNotFound     no such program in the container           HTTP 400, exit code 127
     │   └─ CommandNotExecutable  there, but cannot be executed            HTTP 400, exit code 126
     ├─ Unauthenticated         who are you                                HTTP 401
     ├─ Forbidden               not for you                                HTTP 403
     ├─ NotFound                no such container, image, exec ...         HTTP 404
     ├─ Conflict                the state of the thing does not allow it   HTTP 409
     ├─ NotModified             it is so already                           HTTP 304
     ├─ TooLarge                a limit of ours was exceeded               HTTP 413
     ├─ SystemFault             the machine did not do it                  HTTP 500
     │   ├─ SystemCallError     one system call, with its operands
     │   ├─ StepFailed          one step on a container's way to its program
     │   ├─ OutOfSpace          a disk is full
     │   └─ CorruptData         bytes are not what their digest says
     ├─ Unsupported             this kernel or this version cannot         HTTP 501
     └─ Unavailable             not now                                    HTTP 503

A message is lower case and has no final period, unless Docker's clients know it in another form; an offending value
is quoted. This module imports nothing of wherry.
"""

from __future__ import annotations

import errno as _errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final  # else whoever imports nothing but this file would pay for it

__all__ = [
    "CommandNotExecutable",
    "CommandNotFound",
    "Conflict",
    "CorruptData",
    "Forbidden",
    "InvalidInput",
    "NotFound",
    "NotModified",
    "OutOfSpace",
    "StepFailed",
    "SystemCallError",
    "SystemFault",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
    "Unsupported",
    "WherryError",
    "encodable",
]


def encodable(text: str) -> str:
    """Return a text that JSON, protobuf and SQLite take: a file's name may be no UTF-8, such a byte becomes U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


class WherryError(Exception):
    """The root of all errors that wherry raises on purpose.

    :param message: what happened, as a sentence without a final period.
    :param cause: what made it happen, when that is known and not obvious.
    :param hint: what the reader can do about it.
    """

    def __init__(self, message: str, *, cause: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message: Final = message
        self.cause: Final = cause
        self.hint: Final = hint

    def __str__(self) -> str:
        text = self.message
        if self.cause:
            text += f": {self.cause}"
        if self.hint:
            text += f" ({self.hint})"
        return encodable(text)


class InvalidInput(WherryError):
    """The request is wrong; asking again in the same way will not help."""


class CommandNotFound(InvalidInput):
    """The container has no such program."""


class CommandNotExecutable(InvalidInput):
    """The program is there, but the kernel will not execute it."""


class Unauthenticated(WherryError):
    """The caller did not say who it is, or could not prove it."""


class Forbidden(WherryError):
    """The caller may not do this."""


class NotFound(WherryError):
    """There is no such thing."""


class Conflict(WherryError):
    """The state of the thing, or another thing of that name, does not allow it."""


class NotModified(WherryError):
    """It is already as the caller asked for."""


class TooLarge(WherryError):
    """A limit of wherry's own was exceeded."""


class SystemFault(WherryError):
    """The machine did not do what was asked."""


class SystemCallError(SystemFault):
    """One system call failed.

    :param call: its kernel name, ``"move_mount"``.
    :param operands: its decoded arguments, ``"'/proc' on '/run/rootfs/proc', MS_NOSUID|MS_NODEV"``.
    :param errno: the error number.
    :param hint: what the kernel's text does not say.
    """

    def __init__(self, call: str, operands: str, errno: int, *, hint: str | None = None) -> None:
        self.call: Final = call
        self.operands: Final = operands
        self.errno: Final = errno
        name = _errno.errorcode.get(errno, str(errno))
        shown = f"{call} {operands}" if operands else call
        super().__init__(shown, cause=f"{os.strerror(errno).lower()} [{name}]", hint=hint)


class StepFailed(SystemFault):
    """One step on a container's way to its program failed.

    :param step: what was being done, ``"mount /proc"``.
    :param call: the system call that failed, or an empty string.
    :param errno: its error number, or 0.
    :param text: the sentence that the child sent up.
    """

    def __init__(self, step: str, text: str, *, call: str = "", errno: int = 0) -> None:
        self.step: Final = step
        self.call: Final = call
        self.errno: Final = errno
        super().__init__(f"{step}: {text}")


class OutOfSpace(SystemFault):
    """A disk, or a quota, is full."""


class CorruptData(SystemFault):
    """Bytes are not what their digest, size or format promised."""


class Unsupported(WherryError):
    """This kernel, this machine or this version of wherry cannot do it."""


class Unavailable(WherryError):
    """It cannot be done now; later it may."""
