"""How a pull or a push gets on, layer by layer: a bar, the rate, the time left; and at the end what it took.

On a terminal the lines are drawn over ten times a second at most. Elsewhere each layer is one line when it is done.
"""

from __future__ import annotations

import time

from wherry.cli.human import human_size
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

    def take(self, message: dict[str, Any], now: float) -> None:
        """Note what the daemon says of it."""
        self.status = message.get("status", "")
        detail = message.get("progressDetail") or {}
        self.current, self.total = detail.get("current", 0), detail.get("total", self.total)
        if self.status in _MOVING:
            self.since = self.since or now
            self.moved = self.current

    @property
    def is_done(self) -> bool:
        """Whether there is nothing more to say of it."""
        return self.status in _DONE or self.status.startswith("Mounted from")

    def line(self, width: int, now: float) -> str:
        """What a terminal shows."""
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


class _Display:
    def __init__(self, out: TextIO, *, quiet: bool) -> None:
        self._out = out
        self._quiet = quiet
        self._terminal = out.isatty() and not quiet
        self._layers: dict[str, _Layer] = {}
        self._drawn = 0
        self._last = 0.0
        self._began = time.monotonic()
        self.aux: dict[str, Any] = {}

    def take(self, message: dict[str, Any]) -> None:
        if message.get("error") or message.get("errorDetail"):
            self._draw(force=True)
            raise SystemFault(message.get("error") or message["errorDetail"].get("message", "unknown error"))
        name, status = message.get("id", ""), message.get("status", "")
        if "aux" in message:
            self.aux = message["aux"]
        elif name and not status.startswith("Pulling from"):
            self._layer(name, message)
        elif status:
            self._say(f"{name}: {status}" if name else status)

    def _layer(self, name: str, message: dict[str, Any]) -> None:
        layer = self._layers.setdefault(name, _Layer(name))
        was_done = layer.is_done
        layer.take(message, time.monotonic())
        if self._terminal:
            self._draw()
        elif layer.is_done and not was_done:
            self._say(f"{name}: {layer.status}")

    def _say(self, text: str) -> None:
        if self._quiet:
            return
        self._draw(force=True)
        self._out.write(text + "\n")
        self._out.flush()
        self._drawn = 0
        if self._terminal:
            self._layers = {name: layer for name, layer in self._layers.items() if not layer.is_done}

    def _draw(self, *, force: bool = False) -> None:
        now = time.monotonic()
        if not self._terminal or (now - self._last < _REDRAW and not force):
            return
        from wherry.cli.terminal import terminal_size

        rows, width = terminal_size(self._out.fileno()) or (24, 80)
        lines = [layer.line(width - 1, now) for layer in self._layers.values()][-(rows - 1) :]
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        self._out.write(up + "".join(f"\x1b[2K\r{line}\n" for line in lines))
        self._out.flush()
        self._drawn, self._last = len(lines), now


class _Sum:
    """What was moved and what was not, over everything."""

    def __init__(self) -> None:
        self.moved: dict[str, int] = {}
        self.shared: set[str] = set()

    def take(self, message: dict[str, Any]) -> None:
        name, status = message.get("id", ""), message.get("status", "")
        if status in _MOVING and (message.get("progressDetail") or {}).get("total"):
            self.moved[name] = message["progressDetail"]["current"]
        elif status in _SHARED or status.startswith("Mounted from"):
            self.shared.add(name)

    def sentence(self, seconds: float) -> str:
        size = sum(self.moved.values())
        parts = [f"{len(self.moved)} layer{'' if len(self.moved) == 1 else 's'} moved, {human_size(size)}"]
        if seconds >= 0.05 and size:
            parts.append(f"in {seconds:.1f} s ({human_size(int(size / seconds))}/s)")
        shared = f"{len(self.shared)} already there" if self.shared else ""
        return " ".join(parts) + (f"; {shared}" if shared else "")


def show_transfer(messages: Iterable[dict[str, Any]], out: TextIO, *, quiet: bool = False) -> dict[str, Any]:
    """Show a transfer's messages to their end.

    :param quiet: show errors only.
    :returns: what the daemon added for programs: of a push, tag, digest and size.
    :raises wherry.errors.SystemFault: the daemon reports that it failed.
    """
    display, total = _Display(out, quiet=quiet), _Sum()
    began = time.monotonic()
    for message in messages:
        total.take(message)
        display.take(message)
    if not quiet and (total.moved or total.shared):
        out.write(total.sentence(time.monotonic() - began) + "\n")
    return display.aux
