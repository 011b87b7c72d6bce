"""The daemon's progress messages while loading and importing."""

from __future__ import annotations

from wherry import legible
from wherry.cli.console import can_draw, draw, flush, printable, write_page
from wherry.errors import SystemFault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, TextIO

__all__ = ["show"]


def show(messages: Iterable[dict[str, Any]], out: TextIO, *, quiet: bool = False) -> None:
    """Write messages as lines; on a terminal each layer's line is updated in place.

    :param quiet: write errors only.
    :raises wherry.errors.SystemFault: the daemon reports that it failed.
    """
    terminal = can_draw(out)
    lines: dict[str, int] = {}
    count = 0
    for received in messages:
        if received.get("error") or received.get("errorDetail"):
            raise SystemFault(received.get("error") or received["errorDetail"].get("message", "unknown error"))
        message = _printable(received)
        if quiet:
            continue
        name = message.get("id", "")
        if message.get("progressDetail") and not terminal:
            continue
        if terminal and name and name in lines:
            draw(f"\x1b[{count - lines[name]}A\x1b[2K\r{_line(message)}\x1b[{count - lines[name]}B\r", out)
        else:
            lines[name] = count
            count += 1
            write_page(_line(message) + ("" if "stream" in message else "\n"), out)
        flush(out)


def _printable(message: dict[str, Any]) -> dict[str, Any]:
    """The message with its texts escaped; those of a stream keep their line breaks."""
    lines = {"stream": legible.lines(message["stream"].removesuffix("\n")) + "\n"} if message.get("stream") else {}
    return {**printable(message), **lines}


def _line(message: dict[str, Any]) -> str:
    if "stream" in message:
        return str(message["stream"])
    name = f"{message['id']}: " if message.get("id") else ""
    return f"{name}{message.get('status', '')} {message.get('progress', '')}".rstrip()
