"""A container or an exec with our terminal, our signals and our streams: what run, start, attach and exec share."""

from __future__ import annotations

import os

from wherry.cli.streams import Pump

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry.cli.context import Context
    from wherry.cli.detach import Detacher
    from wherry.cli.leave import Leave
    from wherry.client.transport import Response, Stream

__all__ = ["detached_by_keys", "exit_status", "forward_signals", "pump", "require_terminal"]


def require_terminal(*, stdin: bool, tty: bool) -> None:
    """Refuse to give a container's terminal an input that is none.

    :raises wherry.cli.leave.Leave: our standard input is no terminal.
    """
    if stdin and tty and not os.isatty(0):
        from wherry.cli.leave import Leave

        raise Leave(1, "the input device is not a TTY")


def forward_signals(context: Context, ref: str) -> None:
    """Pass our signals on to a container. Each goes over a connection of its own."""
    from wherry.cli.signals import forward

    def send(number: int) -> None:
        with context.another_client() as client:
            client.containers.kill(ref, str(number))

    forward(send)


def pump(
    stream: Stream,
    *,
    tty: bool,
    stdin: bool,
    detach_keys: str = "",
    resize: Callable[[int, int], None] | None = None,
    redraw: bool = False,
) -> bool:
    """Move bytes until the output ends.

    :param resize: tells the container our terminal's size.
    :param redraw: make a program that has been running draw its screen anew.
    :returns: True when the person detached.
    """
    try:
        if tty:
            return _pump_terminal(stream, stdin, detach_keys, resize, redraw)
        detacher = _detacher(detach_keys) if stdin and detach_keys else None
        return Pump(stream, tty=False, stdin=stdin, detacher=detacher).run()
    finally:
        stream.close()


def _pump_terminal(
    stream: Stream, stdin: bool, detach_keys: str, resize: Callable[[int, int], None] | None, redraw: bool
) -> bool:
    from wherry.cli.terminal import RawTerminal, follow_size

    with RawTerminal(active=stdin):
        if resize is not None:
            follow_size(resize, redraw=redraw)
        return Pump(stream, tty=True, stdin=stdin, detacher=_detacher(detach_keys)).run()


def _detacher(keys: str) -> Detacher:
    from wherry.cli.detach import DEFAULT_KEYS, Detacher, key_bytes

    return Detacher(key_bytes(keys or DEFAULT_KEYS))


def detached_by_keys() -> Leave:
    """What Docker says when somebody detaches from what already ran before."""
    from wherry.cli.leave import Leave

    return Leave(1, "read escape sequence")


def exit_status(waiting: Response) -> int:
    """Read the result of a wait.

    :raises wherry.errors.SystemFault: the daemon could not wait.
    """
    result = waiting.json() or {}
    if (result.get("Error") or {}).get("Message"):
        from wherry.errors import SystemFault

        raise SystemFault(result["Error"]["Message"])
    return int(result.get("StatusCode", 0))
