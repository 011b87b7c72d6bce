"""A container or an exec with our terminal, our signals and our streams: what run, start, attach and exec share."""

from __future__ import annotations

import os

from wherry.cli.streams import Pump

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry.cli.context import Context
    from wherry.client.transport import Response, Stream

__all__ = ["exit_status", "forward_signals", "pump", "require_terminal"]


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
    stream: Stream, *, tty: bool, stdin: bool, detach_keys: str = "", resize: Callable[[int, int], None] | None = None
) -> bool:
    """Move bytes until the output ends.

    :param resize: tells the container our terminal's size.
    :returns: True when the person detached.
    """
    if not tty:
        detacher = _detacher(detach_keys) if stdin and detach_keys else None
        return Pump(stream, tty=False, stdin=stdin, detacher=detacher).run()
    from wherry.cli.terminal import RawTerminal, follow_size

    with RawTerminal() if stdin else _nothing():
        if resize is not None:
            follow_size(resize)
        detached = Pump(stream, tty=True, stdin=stdin, detacher=_detacher(detach_keys)).run()
    if detached:
        from wherry.cli.streams import write_all

        write_all(2, b"read escape sequence\n")
    return detached


class _nothing:
    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


def _detacher(keys: str):  # type: ignore[no-untyped-def]
    from wherry.cli.detach import DEFAULT_KEYS, Detacher, key_bytes

    return Detacher(key_bytes(keys or DEFAULT_KEYS))


def exit_status(waiting: Response) -> int:
    """Read the result of a wait.

    :raises wherry.errors.SystemFault: the daemon could not wait.
    """
    result = waiting.json() or {}
    if (result.get("Error") or {}).get("Message"):
        from wherry.errors import SystemFault

        raise SystemFault(result["Error"]["Message"])
    return int(result.get("StatusCode", 0))
