"""A build's progress as the classic builder's lines, which clients show and search.

Steps that run side by side, and instructions that change no file, are not what that builder knew: the number of a step
is its place among the steps of the graph that files come from.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from wherry.api.classic.events import detail_of
from wherry.build.model.errors import VertexFailed
from wherry.build.model.progress import LogProgress, Progress, TransferProgress, VertexProgress, WarningProgress
from wherry.docker.reference import Reference
from wherry.oci.digest import Digest

__all__ = ["ClassicText", "failure", "result"]

Json = dict[str, Any]

_TRANSFERS: Final = {"downloading": "Downloading", "extracting": "Extracting"}
_FAILED: Final = re.compile(r'process "(.*)" did not complete successfully', re.DOTALL)


class ClassicText:
    """Translates events, in their order, into messages."""

    def __init__(self) -> None:
        self._steps: dict[Digest, str] = {}  # announced, with their instructions
        self._numbers: dict[Digest, int] = {}  # begun
        self._ended: set[Digest] = set()
        self._decoders: dict[tuple[Digest, int], codecs.IncrementalDecoder] = {}

    def take(self, event: Progress) -> list[Json]:
        """The messages of one event."""
        if isinstance(event, VertexProgress):
            return [{"stream": text} for text in self._vertex(event)]
        if isinstance(event, LogProgress):
            return [{"stream": text}] if (text := self._decoded(event)) else []
        if isinstance(event, TransferProgress):
            return _transfer(event)
        return [{"stream": f"[Warning] {_line(event.short)}\n"}] if isinstance(event, WarningProgress) else []

    def _vertex(self, event: VertexProgress) -> Iterable[str]:
        instruction = _instruction(event.name)
        if not instruction:
            return
        self._steps.setdefault(event.digest, instruction)
        if event.started is None and event.completed is None and not event.cached:
            return
        if event.digest not in self._numbers:
            yield self._heading(event.digest, instruction)
            if event.cached:
                yield " ---> Using cache\n"
            elif instruction.upper().startswith("RUN"):
                yield f" ---> Running in {event.digest.short}\n"
        if event.completed is not None and event.digest not in self._ended:
            self._ended.add(event.digest)
            if not event.error:
                yield f" ---> {event.digest.short}\n"

    def _heading(self, digest: Digest, instruction: str) -> str:
        number = self._numbers[digest] = len(self._numbers) + 1
        return f"Step {number}/{max(number, len(self._steps))} : {_line(instruction)}\n"

    def _decoded(self, event: LogProgress) -> str:
        """Output as text; a character may come in two pieces."""
        key = (event.vertex, event.stream)
        if key not in self._decoders:
            self._decoders[key] = codecs.getincrementaldecoder("utf-8")(errors="replace")
        return self._decoders[key].decode(event.data)


def _instruction(name: str) -> str:
    """``[stage-1 2/4] RUN make`` without what is in brackets; empty for what is no step of a Dockerfile."""
    if not name.startswith("["):
        return ""
    place, mark, instruction = name[1:].partition("] ")
    number, slash, count = place.rpartition(" ")[2].partition("/")
    return instruction if mark and slash and number.isdecimal() and count.isdecimal() else ""


def _line(text: str) -> str:
    return " ".join(text.split("\n")).strip()


def _transfer(event: TransferProgress) -> list[Json]:
    """A layer that is pulled, as ``docker pull`` shows it; nothing about others."""
    status, layer = _TRANSFERS.get(event.name, ""), event.id.rpartition(" ")[2]
    if not status:
        return []
    if event.completed is not None:
        return [{"status": "Pull complete" if event.name == "extracting" else "Download complete", "id": layer}]
    return [{"status": status, "progressDetail": {"current": event.current, "total": event.total}, "id": layer}]


def result(identifier: str, tags: Sequence[str]) -> list[Json]:
    """What the builder says at the end: clients look for ``Successfully built`` and the ID.

    :param identifier: the image's, ``sha256:…``; empty: there is none.
    """
    if not identifier:
        return []
    names = [Reference.parse(name).familiar for name in tags]
    return [
        {"aux": {"ID": identifier}},
        {"stream": f"Successfully built {identifier.removeprefix('sha256:')[:12]}\n"},
        *({"stream": f"Successfully tagged {name}\n"} for name in names),
    ]


def failure(error: Exception, sentence: str, version: int) -> Json:
    """What the builder says when it fails; with the command's exit code, as the classic builder has it."""
    detail: Json = {"message": sentence}
    if isinstance(error, VertexFailed) and error.exit_code is not None:
        detail = {"code": error.exit_code, "message": _classic(sentence, error.exit_code) if version == 1 else sentence}
    if version == 3:
        detail |= detail_of(error)
    return {"errorDetail": detail, "error": detail["message"]}


def _classic(sentence: str, code: int) -> str:
    command = _FAILED.search(sentence)
    return f"The command '{command[1]}' returned a non-zero code: {code}" if command else sentence
