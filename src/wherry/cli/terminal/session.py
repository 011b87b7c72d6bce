"""An attached container or exec: the local terminal, signals and streams. Shared by run, start, attach and exec."""

from __future__ import annotations

import os

from wherry.cli.terminal.streams import Pump

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry.cli.context import Context
    from wherry.cli.exit import Exit
    from wherry.cli.terminal.detach_keys import Detacher
    from wherry.client.transport import Response, Stream

__all__ = ["check_detach_keys", "detached_by_keys", "exit_status", "forward_signals", "pump", "require_terminal"]


def require_terminal(*, stdin: bool, tty: bool) -> None:
    """Refuse an interactive terminal session when standard input is not a terminal.

    :raises wherry.cli.exit.Exit: standard input is not a terminal.
    """
    if stdin and tty and not os.isatty(0):
        from wherry.cli.exit import Exit

        raise Exit(1, "the input device is not a TTY")


def check_detach_keys(keys: str) -> None:
    """Check the detach keys before anything is created or started.

    :raises wherry.errors.InvalidInput: invalid keys.
    """
    if keys:
        from wherry.cli.terminal.detach_keys import key_bytes

        key_bytes(keys)


def forward_signals(context: Context, ref: str) -> None:
    """Forward the signals of this process to a container, each over its own connection."""
    from wherry.cli.terminal.signals import forward

    def send(number: int) -> None:
        with context.new_client() as client:
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
    """Copy bytes in both directions until the output ends.

    :param resize: sends the terminal's size to the container.
    :param redraw: make a program that was already running redraw its screen.
    :returns: True when the user detached.
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
    from wherry.cli.terminal.terminal import RawTerminal, follow_size

    with RawTerminal(active=stdin):
        if resize is not None:
            follow_size(resize, redraw=redraw)
        return Pump(stream, tty=True, stdin=stdin, detacher=_detacher(detach_keys)).run()


def _detacher(keys: str) -> Detacher:
    from wherry.cli.terminal.detach_keys import DEFAULT_KEYS, Detacher, key_bytes

    return Detacher(key_bytes(keys or DEFAULT_KEYS))


def detached_by_keys() -> Exit:
    """Docker's error when the user detaches from a container that was already running."""
    from wherry.cli.exit import Exit

    return Exit(1, "read escape sequence")


def exit_status(waiting: Response) -> int:
    """Read the result of a wait.

    :raises wherry.errors.SystemFault: the daemon reports an error.
    """
    result = waiting.json() or {}
    if (result.get("Error") or {}).get("Message"):
        from wherry.errors import SystemFault

        raise SystemFault(result["Error"]["Message"])
    return int(result.get("StatusCode", 0))
