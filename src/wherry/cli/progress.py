"""Progress of pulling, loading and importing, as the daemon tells it."""

from __future__ import annotations

from wherry.errors import SystemFault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, TextIO

__all__ = ["show"]


def show(messages: Iterable[dict[str, Any]], out: TextIO, *, quiet: bool = False) -> None:
    """Write messages as lines; on a terminal a layer's line is written over.

    :param quiet: write errors only.
    :raises wherry.errors.SystemFault: the daemon reports that it failed.
    """
    terminal = out.isatty()
    lines: dict[str, int] = {}
    count = 0
    for message in messages:
        if message.get("error") or message.get("errorDetail"):
            raise SystemFault(message.get("error") or message["errorDetail"].get("message", "unknown error"))
        if quiet:
            continue
        name = message.get("id", "")
        if message.get("progressDetail") and not terminal:
            continue
        if terminal and name and name in lines:
            out.write(f"\x1b[{count - lines[name]}A\x1b[2K\r{_line(message)}\x1b[{count - lines[name]}B\r")
        else:
            lines[name] = count
            count += 1
            out.write(_line(message) + ("" if "stream" in message else "\n"))
        out.flush()


def _line(message: dict[str, Any]) -> str:
    if "stream" in message:
        return str(message["stream"])
    name = f"{message['id']}: " if message.get("id") else ""
    return f"{name}{message.get('status', '')} {message.get('progress', '')}".rstrip()
