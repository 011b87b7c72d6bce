"""Forward the signals of this process to the container: ctrl-c, ``kill``, a session's hangup."""

from __future__ import annotations

# The C module: ``signal`` turns all numbers into enumerations, which costs a millisecond on every ``wherry run``.
import _signal  # type: ignore[import-not-found]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["default_interrupt", "forward"]

_NAMES = "HUP INT QUIT USR1 USR2 ALRM TERM TSTP TTIN TTOU CONT VTALRM PROF IO PWR XCPU XFSZ"
FORWARDED = tuple(int(getattr(_signal, f"SIG{name}")) for name in _NAMES.split())


def forward(send: Callable[[int], None]) -> None:
    """Install handlers that forward signals.

    :param send: takes a signal's number. Its errors are ignored: the container may just have exited.
    """

    def handler(number: int, _frame: FrameType | None) -> None:
        from contextlib import suppress

        from wherry.errors import WherryError

        with suppress(WherryError, OSError):
            send(number)

    for number in FORWARDED:
        _signal.signal(number, handler)


def default_interrupt() -> None:
    """Let ctrl-c end this process at once, as it ends any other command."""
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
