"""The progress of a pull or push per layer: bar, rate, time left; and a summary at the end.

On a terminal the lines are redrawn at most ten times a second. Elsewhere a line is printed per complete layer.
"""

from __future__ import annotations

import time

from wherry.cli.console import can_draw, draw, flush, printable, write, write_page
from wherry.docker.units import human_size
from wherry.errors import SystemFault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, TextIO

__all__ = ["show_transfer"]

_REDRAW = 0.1
_MOVING = ("Downloading", "Pushing")
_SHARED = ("Already exists", "Layer already exists")
_DONE = ("Pull complete", "Pushed", *_SHARED)


class _Layer:
    """One layer's line."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.status = ""
        self.current = 0
        self.total = 0
        self.moved = 0
        self.since = 0.0

    def update(self, message: dict[str, Any], now: float) -> None:
        """Apply a message of the daemon."""
        self.status = message.get("status", "")
        detail = message.get("progressDetail") or {}
        self.current, self.total = detail.get("current", 0), detail.get("total", self.total)
        if self.status in _MOVING:
            self.since = self.since or now
            self.moved = self.current

    @property
    def is_done(self) -> bool:
        """Whether the layer is complete."""
        return self.status in _DONE or self.status.startswith("Mounted from")

    def line(self, width: int, now: float) -> str:
        """The line for a terminal."""
        text = f"{self.name}  {self.status:<18}"
        if not self.current or self.is_done or self.current > self.total:
            return f"{text}{human_size(self.total) if self.is_done and self.total else ''}"[:width]
        sizes = f"{human_size(self.current):>8}/{human_size(self.total):<8}"
        room = max(10, min(40, width - len(text) - len(sizes) - 26))
        filled = self.current * room // self.total
        return f"{text}{'█' * filled}{'░' * (room - filled)} {sizes}{self._speed(now)}"[:width]

    def _speed(self, now: float) -> str:
        if self.status not in _MOVING or now - self.since < 0.5:
            return ""
        rate = self.current / (now - self.since)
        left = (self.total - self.current) / rate if rate else 0
        return f" {human_size(int(rate)):>8}/s  {int(left) // 60}:{int(left) % 60:02d}"


class _TransferDisplay:
    def __init__(self, out: TextIO, *, quiet: bool) -> None:
        self._out = out
        self._quiet = quiet
        self._terminal = can_draw(out) and not quiet
        self._layers: dict[str, _Layer] = {}
        self._drawn = 0
        self._last = 0.0
        self.aux: dict[str, Any] = {}

    def update(self, message: dict[str, Any]) -> None:
        if message.get("error") or message.get("errorDetail"):
            self._draw(force=True)
            raise SystemFault(message.get("error") or message["errorDetail"].get("message", "unknown error"))
        if "aux" in message:
            self.aux = message["aux"]
        message = printable(message)
        name, status = message.get("id", ""), message.get("status", "")
        if "aux" in message:
            return
        if name and not status.startswith("Pulling from"):
            self._layer(name, message)
        elif status:
            self._write_line(f"{name}: {status}" if name else status)

    def _layer(self, name: str, message: dict[str, Any]) -> None:
        layer = self._layers.setdefault(name, _Layer(name))
        was_done = layer.is_done
        layer.update(message, time.monotonic())
        if self._terminal:
            self._draw()
        elif layer.is_done and not was_done:
            self._write_line(f"{name}: {layer.status}")

    def _write_line(self, text: str) -> None:
        if self._quiet:
            return
        self._draw(force=True)
        write_page(f"{text}\n", self._out)
        flush(self._out)
        self._drawn = 0
        if self._terminal:
            self._layers = {name: layer for name, layer in self._layers.items() if not layer.is_done}

    def _draw(self, *, force: bool = False) -> None:
        now = time.monotonic()
        if not self._terminal or (now - self._last < _REDRAW and not force):
            return
        from wherry.cli.terminal.terminal import terminal_size

        rows, width = terminal_size(self._out.fileno()) or (24, 80)
        lines = [layer.line(width - 1, now) for layer in self._layers.values()][-(rows - 1) :]
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        draw(up + "".join(f"\x1b[2K\r{line}\n" for line in lines), self._out)
        flush(self._out)
        self._drawn, self._last = len(lines), now


class _Totals:
    """The totals of what was transferred and what was already there."""

    def __init__(self) -> None:
        self.moved: dict[str, int] = {}
        self.shared: set[str] = set()

    def update(self, message: dict[str, Any]) -> None:
        name, status = message.get("id", ""), message.get("status", "")
        if status in _MOVING and (message.get("progressDetail") or {}).get("total"):
            self.moved[name] = message["progressDetail"]["current"]
        elif status in _SHARED or status.startswith("Mounted from"):
            self.shared.add(name)

    def summary(self, seconds: float) -> str:
        size = sum(self.moved.values())
        parts = [f"{len(self.moved)} layer{'' if len(self.moved) == 1 else 's'} moved, {human_size(size)}"]
        if seconds >= 0.05 and size:
            parts.append(f"in {seconds:.1f} s ({human_size(int(size / seconds))}/s)")
        shared = f"{len(self.shared)} already there" if self.shared else ""
        return " ".join(parts) + (f"; {shared}" if shared else "")


def show_transfer(messages: Iterable[dict[str, Any]], out: TextIO, *, quiet: bool = False) -> dict[str, Any]:
    """Show a transfer's messages until it ends.

    :param quiet: show errors only.
    :returns: the last ``aux`` message: tag, digest and size of a push.
    :raises wherry.errors.SystemFault: the daemon reports that it failed.
    """
    display, total = _TransferDisplay(out, quiet=quiet), _Totals()
    began = time.monotonic()
    for message in messages:
        total.update(message)
        display.update(message)
    if not quiet and (total.moved or total.shared):
        write("{}\n", total.summary(time.monotonic() - began), out=out)
    return display.aux
