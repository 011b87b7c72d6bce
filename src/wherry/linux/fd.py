"""The owner of a file descriptor."""

from __future__ import annotations

import fcntl
import os
from types import TracebackType
from typing import Final, Protocol

__all__ = ["AT_FDCWD", "Fd", "FdLike", "HasFileno", "number"]

#: In place of a directory's descriptor: the working directory.
AT_FDCWD: Final = -100


class HasFileno(Protocol):
    """Whatever wraps a descriptor: :class:`Fd`, a socket, a file."""

    def fileno(self) -> int: ...


FdLike = int | HasFileno


def number(fd: FdLike) -> int:
    """Return the plain number of a descriptor."""
    return fd if isinstance(fd, int) else fd.fileno()


class Fd:
    """One open descriptor, closed exactly once: at the end of a ``with``, by :meth:`close`, or with the object.

    A closed one is number -1, which the kernel answers with EBADF; so a descriptor that was opened later can never
    be used by mistake.

    :param fileno: the descriptor to own, as the kernel returned it.
    """

    __slots__ = ("_number",)

    def __init__(self, fileno: int) -> None:
        self._number = fileno

    def fileno(self) -> int:
        """Return the number, or -1 once closed or detached."""
        return self._number

    @property
    def closed(self) -> bool:
        """Whether it is closed, or belongs to somebody else by now."""
        return self._number < 0

    def close(self) -> None:
        """Close it; doing so again has no effect."""
        fileno, self._number = self._number, -1
        if fileno >= 0:
            os.close(fileno)

    def detach(self) -> int:
        """Give the descriptor away: the caller owns the returned number."""
        fileno, self._number = self._number, -1
        return fileno

    def duplicate(self) -> Fd:
        """Return a second descriptor of the same open file, close-on-exec."""
        return Fd(fcntl.fcntl(self._number, fcntl.F_DUPFD_CLOEXEC, 0))

    def __enter__(self) -> Fd:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Fd({self._number})"
