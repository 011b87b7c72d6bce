"""What is known of a build's steps, from the daemon's messages."""

from __future__ import annotations

from collections import deque

from wherry.legible import bounded, line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Step", "Steps", "duration"]

_TAIL = 20  #: lines of output that are kept of a step, for the error
_LONGEST = 4096  #: characters of one such line, and of a step's name


def duration(nanoseconds: int) -> str:
    """A time as builds show it: ``0.3s``."""
    return f"{max(nanoseconds, 0) / 1e9:.1f}s"


class Step:
    """A step; times are nanoseconds since the epoch.

    :ivar number: from 1, in the order of appearance.
    :ivar tail: the last lines of its output.
    :ivar lines: how many lines its output has, as far as they are complete.
    :ivar transfers: what it downloads or sends: name, bytes, bytes in all.
    """

    def __init__(self, number: int, digest: str) -> None:
        self.number = number
        self.digest = digest
        self.name = ""
        self.started: int | None = None
        self.completed: int | None = None
        self.is_cached = False
        self.error = ""
        self.explanation = ""
        self.cost: dict[str, Any] = {}
        self.tail: deque[str] = deque(maxlen=_TAIL)
        self.lines = 0
        self.transfers: dict[str, tuple[str, int, int]] = {}
        self._partial: dict[int, str] = {}

    def update(self, aux: dict[str, Any]) -> None:
        """Take the present state."""
        self.name = line(bounded(aux.get("name") or self.name, _LONGEST))
        self.started, self.completed = aux.get("started"), aux.get("completed")
        self.is_cached = bool(aux.get("cached"))
        self.error, self.explanation = aux.get("error") or "", line(aux.get("explanation") or "")
        self.cost = aux.get("cost") or {}

    @property
    def is_running(self) -> bool:
        """Whether it has begun and not ended."""
        return self.started is not None and self.completed is None

    def output(self, stream: int, text: str) -> list[str]:
        """Take output; the lines that it completes."""
        *whole, rest = (self._partial.pop(stream, "") + text).split("\n")
        if len(rest) > _LONGEST:
            whole, rest = [*whole, rest], ""
        if rest:
            self._partial[stream] = rest
        return self._take(whole)

    def rest(self) -> list[str]:
        """The last lines, which have no end."""
        found = [text for text in self._partial.values() if text]
        self._partial.clear()
        return self._take(found)

    def _take(self, whole: list[str]) -> list[str]:
        self.tail.extend(whole)
        self.lines += len(whole)
        return whole

    def time(self, now: int) -> int:
        """How long it has been running, or was."""
        return (self.completed or now) - self.started if self.started is not None else 0


class Steps:
    """All steps of a build.

    :ivar warnings: of the Dockerfile, with their excerpts.
    :ivar response: what the exporters say.
    :ivar answer: what the frontend says to what was asked instead of a build: ``result.txt``.
    :ivar image: the image's ID; empty: none yet.
    :ivar ref: the build's ID; empty: not known yet.
    :ivar record: what is remembered of the build; empty where it is watched.
    """

    def __init__(self) -> None:
        self.all: dict[str, Step] = {}
        self.warnings: list[dict[str, Any]] = []
        self.response: dict[str, str] = {}
        self.answer: dict[str, str] = {}
        self.image = ""
        self.ref = ""
        self.record: dict[str, Any] = {}

    def take(self, aux: dict[str, Any]) -> tuple[Step | None, list[str]]:
        """Take a message; the step that it is about, and the lines of output that it completes."""
        if "ID" in aux:
            self.image = str(aux["ID"])
        kind = aux.get("type")
        if kind == "build":
            self.ref, self.record = str(aux.get("Ref", "")), aux
        elif kind == "warning":
            self.warnings.append(aux)
        elif kind == "result":
            self.response, self.answer = dict(aux.get("response") or {}), dict(aux.get("answer") or {})
        elif kind in ("vertex", "log", "transfer"):
            return self._take_of_step(kind, aux)
        return None, []

    def _take_of_step(self, kind: str, aux: dict[str, Any]) -> tuple[Step, list[str]]:
        digest = str(aux.get("digest" if kind == "vertex" else "vertex", ""))
        step = self.all.setdefault(digest, Step(len(self.all) + 1, digest))
        if kind == "log":
            return step, step.output(aux.get("stream", 1), aux.get("data", ""))
        if kind == "vertex":
            step.update(aux)
            return step, step.rest() if step.completed is not None else []
        name = line(aux.get("name") or aux.get("id") or "")
        step.transfers[aux.get("id", "")] = (name, aux.get("current", 0), aux.get("total", 0))
        return step, []
