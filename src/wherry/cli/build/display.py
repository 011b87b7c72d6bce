"""How a build is shown: as lines, on a terminal as a table of steps that is redrawn, or as JSON.

All of it goes to standard error while something is built; the log of a build of the past is what was asked for, and
goes to standard output.
"""

from __future__ import annotations

import re
import sys
import threading
import time

from wherry.cli.build.steps import Step, Steps, duration
from wherry.cli.console import can_draw, draw, flush, printable, write_error_page, write_page
from wherry.docker.units import human_size
from wherry.legible import in_json, line, lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any

__all__ = ["LiveDisplay", "PlainDisplay", "QuietDisplay", "RawDisplay", "display_of", "log_display_of"]

_REDRAW = 0.15  #: seconds
_TAIL = 6  #: lines of output below a running step
_STEERING = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")


class QuietDisplay:
    """Shows nothing; the others show more."""

    def __init__(self) -> None:
        self.steps = Steps()

    def __enter__(self) -> QuietDisplay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def take(self, message: dict[str, Any]) -> None:
        """Show a message."""
        self.steps.take(message.get("aux") or {})

    def pause(self) -> None:
        """Something else is shown for a while, below."""

    def resume(self) -> None:
        """It is over."""

    def close(self) -> None:
        """Show what there is to say at the end."""


class RawDisplay(QuietDisplay):
    """The messages as they come, for programs.

    :param write: writes a page.
    """

    def __init__(self, write: Callable[[str], object] = write_error_page) -> None:
        super().__init__()
        self._write = write

    def take(self, message: dict[str, Any]) -> None:
        """Write a message."""
        from wherry.client.codec import encode

        super().take(message)
        self._write(in_json(encode(message).decode()) + "\n")


class PlainDisplay(QuietDisplay):
    """One line after the other: ``#3 [2/4] RUN make``, ``#3 0.512 its output``, ``#3 DONE 1.2s``.

    :param write: writes a page.
    """

    def __init__(self, write: Callable[[str], object] = write_error_page) -> None:
        super().__init__()
        self._write = write
        self._shown: Step | None = None
        self._ended: set[int] = set()

    def take(self, message: dict[str, Any]) -> None:
        """Show a message."""
        aux = message.get("aux") or {}
        step, text = self.steps.take(aux)
        if step is None:
            return
        self._lines(step, text, _time_of(step, aux.get("at")))
        if aux.get("type") == "vertex":
            self._vertex(step)

    def _vertex(self, step: Step) -> None:
        is_over = step.completed is not None or step.is_cached
        if step.number in self._ended or not (step.started is not None or is_over):
            return
        if not is_over and self._shown is not None and self._shown.number not in self._ended:
            return  # it is named once it has something to say
        self._turn_to(step)
        if not is_over:
            return
        self._ended.add(step.number)
        if step.error:
            ending = f"ERROR: {line(step.error)}"
        else:
            ending = "CACHED" if step.is_cached else f"DONE {duration(step.time(0))}"
        self._write(f"#{step.number} {ending}\n")

    def _turn_to(self, step: Step) -> None:
        """Name the step whose lines follow."""
        if self._shown is step:
            return
        before = self._shown
        if before is not None:
            self._write(f"#{before.number} ...\n\n" if before.number not in self._ended else "\n")
        self._shown = step
        self._write(f"#{step.number} {step.name}\n")

    def _lines(self, step: Step, text: list[str], at: str = "") -> None:
        if text:
            self._turn_to(step)
            self._write("".join(f"#{step.number} {at}{_bare(one)}\n" for one in text))

    def close(self) -> None:
        """Show what steps that were cut off have begun to say, and warnings."""
        for step in self.steps.all.values():
            self._lines(step, step.rest())
        _write_warnings(self.steps, self._write)


def _time_of(step: Step, at: int | None) -> str:
    """When a line was written, since the step's start."""
    return f"{(at - step.started) / 1e9:.3f} " if at and step.started else ""


class LiveDisplay(QuietDisplay):
    """A table of all steps, redrawn while they run; a thread keeps the times going."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._drawing = threading.Lock()
        self._is_paused = False
        self._over = threading.Event()
        self._drawn = 0
        self._began = time.time_ns()
        self._thread = threading.Thread(target=self._redraw, daemon=True)
        self._thread.start()

    def take(self, message: dict[str, Any]) -> None:
        """Take a message; it is shown with the next drawing."""
        with self._lock:
            self.steps.take(message.get("aux") or {})

    def pause(self) -> None:
        """Draw as it is, and leave it there."""
        with self._drawing:
            self._draw()
            self._is_paused, self._drawn = True, 0

    def resume(self) -> None:
        """Draw again, below what was shown meanwhile."""
        with self._drawing:
            self._is_paused = False

    def close(self) -> None:
        """Draw the last time, with all steps, and show warnings."""
        self._over.set()
        self._thread.join()
        self._draw(is_last=True)
        _write_warnings(self.steps)

    def _redraw(self) -> None:
        while not self._over.wait(_REDRAW):
            with self._drawing:
                if not self._is_paused:
                    self._draw()

    def _draw(self, *, is_last: bool = False) -> None:
        from wherry.cli.terminal.terminal import terminal_size

        rows, width = terminal_size(2) or (24, 80)
        with self._lock:
            table = self.table(time.time_ns(), max(width - 1, 40), is_last=is_last)
        if not is_last:
            table = [table[0], *table[1:][-(max(rows, 4) - 2) :]]
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        draw(up + "".join(f"\x1b[2K\r{one}\n" for one in table) + "\x1b[J", sys.stderr)
        flush(sys.stderr)
        self._drawn = len(table)

    def table(self, now: int, width: int, *, is_last: bool = False) -> list[str]:
        """The lines, each no longer than `width`."""
        begun = [one for one in self.steps.all.values() if one.started is not None or one.is_cached]
        done = sum(one.completed is not None or one.is_cached for one in begun)
        state = "FINISHED" if is_last else f"({done}/{len(self.steps.all)})"
        found = [f"[+] Building {duration(now - self._began)} {state}"[:width]]
        for step in begun:
            found.append(_row(step, now, width))
            if step.is_running and not is_last:
                found += [f" => => # {_bare(text)}"[:width] for text in list(step.tail)[-_TAIL:]]
        return found


def _row(step: Step, now: int, width: int) -> str:
    mark = "CACHED " if step.is_cached else "ERROR " if step.error else ""
    end = duration(step.time(now))
    moved = [one for one in step.transfers.values() if one[2] and one[1] < one[2]]
    if moved and step.is_running:
        end = f"{human_size(sum(one[1] for one in moved))}/{human_size(sum(one[2] for one in moved))} {end}"
    room = width - len(end) - 1
    return f"{f' => {mark}{step.name}'[:room]:<{room}} {end}"


def _bare(text: str) -> str:
    """A line of a step's output without colours, as it looks at its end; what steers a terminal is shown, not done."""
    return line(_STEERING.sub("", text).rstrip("\r").rpartition("\r")[2])


def _write_warnings(steps: Steps, show: Callable[[str], object] = write_error_page) -> None:
    if not steps.warnings:
        return
    count = len(steps.warnings)
    show(f"\n {count} warning{'s' if count > 1 else ''} found:\n")
    for warning in steps.warnings:
        show(f" - {printable(str(warning.get('short', '')))}\n")


def write_failure(steps: Steps, message: str, excerpt: str) -> None:
    """Say what failed: the step's last output, where it was written, and the error."""
    for step in steps.all.values():
        if step.error and step.tail:
            text = "".join(f"{_bare(one)}\n" for one in step.tail)
            write_error_page(f"------\n > {step.name}:\n{text}------\n")
            if steps.ref and step.lines > len(step.tail):
                write_error_page(f"All of its output: wherry builder logs {line(steps.ref)}\n")
    if excerpt:
        write_error_page("".join(f"{line(one)}\n" for one in excerpt.splitlines()))
    write_error_page(f"ERROR: failed to build: {lines(message)}\n")


def write_explanations(steps: Steps) -> None:
    """Say of each step why it was run or taken from the cache, and what it took."""
    for step in steps.all.values():
        if step.name.startswith("[internal]"):
            continue
        took = [] if step.is_cached else [duration(step.time(step.started or 0))]
        if (cpu := step.cost.get("cpu")) is not None:
            took.append(f"CPU {duration(cpu)}")
        for name, what in (("memory", "memory"), ("written", "written")):
            if (size := step.cost.get(name)) is not None:
                took.append(f"{human_size(size)} {what}")
        reason = step.explanation or ("from the cache" if step.is_cached else "run")
        costs = f" ({', '.join(took)})" if took else ""
        write_error_page(f"{step.name}\n    {reason}{costs}\n")


def log_display_of(progress: str) -> QuietDisplay:
    """The display of the log of a build, on standard output.

    :raises ValueError: there is no such display.
    """
    if progress == "rawjson":
        return RawDisplay(write_page)
    if progress in ("auto", "plain", ""):
        return PlainDisplay(write_page)
    raise ValueError(f"invalid progress mode {progress!r}: it is plain or rawjson")


def display_of(progress: str, *, quiet: bool) -> QuietDisplay:
    """The display that ``--progress`` asks for.

    :raises ValueError: there is no such display.
    """
    if quiet or progress == "quiet":
        return QuietDisplay()
    if progress == "rawjson":
        return RawDisplay()
    if progress in ("tty", "auto", "") and (progress == "tty" or can_draw(sys.stderr)):
        return LiveDisplay()
    if progress in ("auto", "plain", ""):
        return PlainDisplay()
    raise ValueError(f"invalid progress mode {progress!r}: it is auto, plain, tty, quiet or rawjson")
