"""A build's progress as the classic builder's lines, which clients show and search.

That builder carried out one instruction after the other, and made an image of each. Here steps run side by side, and
instructions that change no file are none. So what happens is told in the order of the Dockerfile: what a later step
says is kept until those before it have ended. IDs are the beginnings of digests of what was made; no image has them but
the last one, and no container.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from wherry.api.classic.events import detail_of
from wherry.build.model.errors import VertexFailed
from wherry.build.model.progress import STDERR, LogProgress, Progress, TransferProgress, VertexProgress, WarningProgress
from wherry.build.model.request import PlannedStep
from wherry.docker.progress import ErrorDetail, ProgressMessage
from wherry.docker.reference import Reference
from wherry.oci.digest import Digest

__all__ = ["ClassicText", "failure", "result"]


_TRANSFERS: Final = {"downloading": "Downloading", "extracting": "Extracting"}
_FAILED: Final = re.compile(r'process "(.*)" did not complete successfully', re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|.)")
_NAMED: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_MOST_KEPT: Final = 16 << 20
"""Bytes of output of steps whose turn has not come. Beyond that, what a step says is shown at once."""


@dataclass(slots=True, eq=False)
class _Work:
    """What is known of a vertex.

    :ivar kept: output whose turn has not come.
    :ivar is_shown: whether its step's first lines are, so that output goes behind them at once.
    :ivar is_over: whether a step was shown with it to the end.
    """

    inputs: tuple[Digest, ...] = ()
    begun: bool = False
    resolved: bool = False
    cached: bool = False
    completed: bool = False
    error: bool = False
    is_shown: bool = False
    is_over: bool = False
    kept: list[LogProgress] = field(default_factory=list)


class ClassicText:
    """Translates events, in their order, into messages.

    :param removes: whether containers of steps are said to be removed.
    :param removes_failed: and that of the step that failed.
    :ivar is_planned: whether it was told of the steps.
    """

    def __init__(self, *, removes: bool = True, removes_failed: bool = False) -> None:
        self._removes = removes
        self._removes_failed = removes_failed
        self.is_planned = False
        self._steps: Sequence[PlannedStep] = ()
        self._decisive: list[int] = []
        self._at = 0
        self._previous = ""  # the ID that was shown last
        self._works: dict[Digest, _Work] = {}
        self._numbers: list[int] = []
        self._triggers: dict[int, int] = {}  # how many there are, by the place of what they follow
        self._places: dict[Digest, int] = {}
        self._kept = 0
        self._decoders: dict[tuple[Digest, int], codecs.IncrementalDecoder] = {}

    def plan(self, steps: Sequence[PlannedStep]) -> None:
        """The steps that there will be; to be told before any of them begins."""
        self.is_planned = True
        self._steps = steps
        number, above = 0, 0
        for place, step in enumerate(steps):
            if step.vertex is not None and step.changes:
                self._places.setdefault(step.vertex, place)
            if step.trigger:
                self._triggers[above] = self._triggers.get(above, 0) + 1
            else:
                number, above = number + 1, place
            self._numbers.append(number)
        self._decisive = _decisive(steps, self._places)

    def take(self, event: Progress) -> Iterator[ProgressMessage]:
        """The messages of one event."""
        if isinstance(event, VertexProgress):
            self._note(event)
            yield from _streams(self._turn())
        elif isinstance(event, LogProgress):
            yield from _streams(self._log(event))
        elif isinstance(event, TransferProgress):
            yield from _transfer(event)
        elif isinstance(event, WarningProgress):
            yield {"stream": f"[Warning] {_line(event.short)}\n"}

    def end(self, identifier: str) -> Iterator[ProgressMessage]:
        """The rest of a build that has succeeded.

        :param identifier: the image's, ``sha256:...``; empty: there is none.
        """
        for work in self._works.values():
            work.resolved = True
        for step in self._steps:
            if step.vertex is not None:
                self._work(step.vertex).resolved = True
        return _streams(self._turn(identifier.removeprefix("sha256:")[:12], at_end=True))

    def fail(self) -> Iterator[ProgressMessage]:
        """The rest of one that has failed: up to the first step that did not succeed."""
        return _streams(self._failing())

    # --- what happens ----------------------------------------------------------------------------

    def _work(self, digest: Digest) -> _Work:
        return self._works.setdefault(digest, _Work())

    def _note(self, event: VertexProgress) -> None:
        work = self._work(event.digest)
        work.inputs = event.inputs or work.inputs
        work.cached = work.cached or event.cached
        work.completed = work.completed or event.completed is not None or event.cached
        work.error = bool(event.error)
        if (event.started is not None or work.completed) and not work.begun:
            work.begun = True
            self._resolve(event.digest)

    def _resolve(self, digest: Digest) -> None:
        """What something is made of is there when it begins; of what was not looked at, nothing will be heard."""
        pending = [digest]
        while pending:
            work = self._work(pending.pop())
            if not work.resolved:
                work.resolved = True
                pending += work.inputs

    def _log(self, event: LogProgress) -> Iterator[str]:
        work = self._work(event.vertex)
        if work.is_shown or event.vertex not in self._places:
            yield self._decoded(event)
            return
        work.kept.append(event)
        self._kept += len(event.data)
        if self._kept > _MOST_KEPT:
            step = self._steps[self._places[event.vertex]]
            yield from self._heading(self._places[event.vertex])
            yield from self._opened(step, work)

    # --- lines -----------------------------------------------------------------------------------

    def _turn(self, identifier: str = "", *, at_end: bool = False) -> Iterator[str]:
        """Lines of the steps whose turn it is."""
        while self._at < len(self._steps):
            is_last = self._at == len(self._steps) - 1
            yield from self._beginning(self._at)
            if not at_end and (is_last or not self._can_be_ended(self._at)):
                return
            yield from self._ending(self._at, identifier if is_last else "")
            self._at += 1

    def _can_be_ended(self, place: int) -> bool:
        step = self._steps[place]
        if step.vertex is None or not step.changes:
            return self._decisive[place] < 0 or self._is_known(self._decisive[place])
        work = self._work(step.vertex)
        return not work.error and (work.completed or (work.resolved and not work.begun))

    def _is_known(self, place: int) -> bool:
        vertex = self._steps[place].vertex
        assert vertex is not None, "it is decisive"
        work = self._work(vertex)
        return work.begun or work.resolved

    def _beginning(self, place: int) -> Iterator[str]:
        """A step's first lines, once something is known of it."""
        step = self._steps[place]
        if step.vertex is None or not step.changes:
            return
        work = self._work(step.vertex)
        if work.is_shown or work.is_over or not (work.begun or work.resolved):
            return
        yield from self._heading(place)
        yield from self._opened(step, work)

    def _heading(self, place: int) -> Iterator[str]:
        step = self._steps[place]
        if step.trigger:
            return
        yield f"Step {self._numbers[place]}/{self._numbers[-1]} : {_line(step.text)}\n"
        if triggers := self._triggers.get(place, 0):
            yield f"# Executing {triggers} build trigger{'s' if triggers > 1 else ''}\n"

    def _opened(self, step: PlannedStep, work: _Work) -> Iterator[str]:
        assert step.vertex is not None, "it has output"
        work.is_shown = True
        if step.keyword != "FROM" and (work.cached or not work.begun):
            yield " ---> Using cache\n"
        elif step.keyword in ("RUN", "WORKDIR"):
            yield f" ---> Running in {step.vertex.short}\n"
        for event in work.kept:
            yield self._decoded(event)
            self._kept -= len(event.data)
        work.kept.clear()

    def _ending(self, place: int, identifier: str) -> Iterator[str]:
        """A step's last lines; all of them, where nothing is run for it."""
        step = self._steps[place]
        if step.vertex is None or not step.changes:
            yield from self._without_work(place)
        else:
            work = self._work(step.vertex)
            if work.is_over:  # the same as another one
                yield from self._heading(place)
                if step.keyword != "FROM":
                    yield " ---> Using cache\n"
            elif self._removes and step.keyword in ("RUN", "WORKDIR") and work.begun and not work.cached:
                yield f"Removing intermediate container {step.vertex.short}\n"
            work.is_over = True
            self._previous = step.vertex.short
        followed = self._steps[place + 1 : place + 2]
        if not (followed and followed[0].trigger) and step.stage >= 0:
            yield f" ---> {identifier or self._previous}\n"

    def _without_work(self, place: int) -> Iterator[str]:
        """ENV, CMD and the like. They count as the steps beside them: from the cache, or not."""
        step = self._steps[place]
        yield from self._heading(place)
        if step.stage < 0:
            return
        if step.keyword == "FROM":
            self._previous = step.vertex.short if step.vertex is not None else ""
            return
        self._previous = Digest.from_bytes(f"{self._previous} {step.text}".encode(errors="replace")).short
        if self._decisive[place] >= 0 and self._is_cached(self._decisive[place]):
            yield " ---> Using cache\n"
            return
        yield f" ---> Running in {self._previous}\n"
        if self._removes:
            yield f"Removing intermediate container {self._previous}\n"

    def _is_cached(self, place: int) -> bool:
        vertex = self._steps[place].vertex
        assert vertex is not None, "it is decisive"
        work = self._work(vertex)
        return work.cached or not work.begun

    def _failing(self) -> Iterator[str]:
        for place in range(self._at, len(self._steps)):
            step = self._steps[place]
            work = self._work(step.vertex) if step.vertex is not None and step.changes else None
            if work is None:
                yield from self._ending(place, "")
                continue
            if not work.begun and not work.resolved:
                return
            yield from self._beginning(place)
            if work.error:
                if self._removes_failed and step.vertex is not None and step.keyword == "RUN" and work.begun:
                    yield f"Removing intermediate container {step.vertex.short}\n"
                return
            if work.completed or not work.begun:
                yield from self._ending(place, "")

    def _decoded(self, event: LogProgress) -> str:
        """Output as text; a character may come in two pieces. Errors are red, as Docker's daemon has them."""
        key = (event.vertex, event.stream)
        if key not in self._decoders:
            self._decoders[key] = codecs.getincrementaldecoder("utf-8")(errors="replace")
        text = self._decoders[key].decode(event.data)
        return f"\033[91m{text}\033[0m" if text and event.stream == STDERR else text


def _decisive(steps: Sequence[PlannedStep], places: Mapping[Digest, int]) -> list[int]:
    """For each step, by which other one's origin it is judged: the last one with files before it, else the next one.

    Both of the same stage, in which the base does not count; else the last one of the stage that this one comes from.
    -1: there is none.

    :param places: of the steps that have files, by what they give.
    """
    found = [-1] * len(steps)
    for order in (range(len(steps) - 1, -1, -1), range(len(steps))):
        stage, last = -2, -1
        for place in order:
            step = steps[place]
            if step.stage != stage:
                stage, last = step.stage, -1
            found[place] = last if last >= 0 else found[place]
            if step.changes and step.keyword != "FROM":
                last = place
    base = -1
    for place, step in enumerate(steps):
        if step.keyword == "FROM":
            base = places.get(step.vertex, -1) if step.vertex is not None and not step.changes else -1
            base = base if base >= 0 and steps[base].keyword != "FROM" else -1
        elif found[place] < 0:
            found[place] = base
    return found


def _streams(lines: Iterable[str]) -> Iterator[ProgressMessage]:
    return ({"stream": line} for line in lines if line)


def _line(text: str) -> str:
    return " ".join(text.split("\n")).strip()


def _transfer(event: TransferProgress) -> list[ProgressMessage]:
    """A layer that is pulled, as ``docker pull`` shows it; nothing about others."""
    status, layer = _TRANSFERS.get(event.name, ""), event.id.rpartition(" ")[2]
    if not status:
        return []
    if event.completed is not None:
        return [{"status": "Pull complete" if event.name == "extracting" else "Download complete", "id": layer}]
    return [{"status": status, "progressDetail": {"current": event.current, "total": event.total}, "id": layer}]


def result(identifier: str, tags: Sequence[str], unused: Sequence[str] = ()) -> list[ProgressMessage]:
    """What the builder says at the end: clients look for ``Successfully built`` and the ID.

    :param identifier: the image's, ``sha256:…``; empty: there is none.
    :param unused: build arguments that nothing declares.
    """
    said: list[ProgressMessage] = []
    if unused:
        said.append({"stream": f"[Warning] One or more build-args [{' '.join(unused)}] were not consumed\n"})
    if not identifier:
        return said
    names = [Reference.parse(name).familiar for name in tags]
    said.append({"aux": {"ID": identifier}})
    said += _streams([f"Successfully built {identifier.removeprefix('sha256:')[:12]}\n"])
    said += _streams(f"Successfully tagged {name}\n" for name in names)
    return said


def failure(error: Exception, sentence: str, version: int) -> ProgressMessage:
    """What the builder says when it fails; with the command's exit code, as the classic builder has it."""
    detail: ErrorDetail = {"message": sentence}
    if isinstance(error, VertexFailed) and error.exit_code is not None:
        detail = {"code": error.exit_code, "message": _classic(sentence, error.exit_code) if version == 1 else sentence}
    if version == 3:
        detail |= detail_of(error)
    return {"errorDetail": detail, "error": detail["message"]}


def _classic(sentence: str, code: int) -> str:
    command = _FAILED.search(sentence)
    if command is None:
        return sentence
    return f"The command '{_ESCAPE.sub(_character, command[1])}' returned a non-zero code: {code}"


def _character(escape: re.Match[str]) -> str:
    """What Go's ``%q`` has written for a character."""
    text = escape[1]
    return chr(int(text[1:], 16)) if len(text) > 1 else _NAMED.get(text, text)
