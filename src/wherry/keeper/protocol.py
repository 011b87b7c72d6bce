"""The protocol between wherryd and the keeper, without any input or output.

::

    wherryd                               keeper
       |  {"op": "hello", "seq": 1, "protocol": 3}
       | ----------------------------------> |    first, and once
       |  {"re": 1, "processes": [...], "more": true} ...  {"re": 1, "processes": [...]}
       | <---------------------------------- |    in pages, so that no message is too large
       |  {"event": "process", "key": ...} [pidfd, master]      one per running process
       | <---------------------------------- |
       |  {"op": "launch", "seq": 2, ...} [plan, ...]
       | ----------------------------------> |
       |  {"re": 2, "pid": ..., "root": ...} [pidfd, master, root]  or  {"re": 2, "error": {...}}
       | <---------------------------------- |    answers may overtake each other
       |  {"event": "exited", ...}           |
       | <---------------------------------- |    at any time after hello

A sequence number is larger than all before it. A request that is not understood gets an error with its number
(``null`` if even that is missing) and changes nothing. :class:`KeeperSide` and :class:`DaemonSide` know what may
come when; ``wherry.keeper.packets`` carries the bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from wherry.errors import (
    CommandNotExecutable,
    CommandNotFound,
    Conflict,
    InvalidInput,
    NotFound,
    StepFailed,
    SystemCallError,
    SystemFault,
    Unsupported,
    WherryError,
)

PROTOCOL: Final = 3
"""What this version speaks."""
HOLDS: Final = 2
"""The first one with ``hold``."""
STEPS: Final = 3
"""The first one with processes of the kind ``step``."""
OLDEST: Final = 1
"""A daemon and a keeper that understand each other well enough for the keeper to be upgraded."""
LARGEST: Final = 64 * 1024
"""Bytes of a message at most; plans travel in memfds."""
MOST_FDS: Final = 4

Fields = dict[str, Any]


class Message(NamedTuple):
    """One message and the descriptors that came with it, which its holder owns."""

    fields: Fields
    fds: list[int]


class Request(NamedTuple):
    """A request that was found to be well-formed."""

    op: str
    seq: int
    fields: Fields
    fds: list[int]


class Refused(InvalidInput):
    """A message that is not well-formed, or not allowed now.

    :param seq: of the request, if it had one.
    """

    def __init__(self, message: str, seq: int | None = None) -> None:
        super().__init__(message)
        self.seq: Final = seq


# ------------------------------------------------------------------------------------------------------------- shapes


def _is_int(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


def _is_name(value: object) -> bool:
    """A key becomes part of a path: nothing that leaves the directory or hides in it."""
    if not isinstance(value, str) or not 0 < len(value) <= 128 or value.startswith("."):
        return False
    return value.isascii() and value.replace("-", "").replace("_", "").replace(".", "").isalnum()


def _is_kind(value: object) -> bool:
    return value in ("container", "exec", "step")


def _is_size(value: object) -> bool:
    if value is None:
        return True
    return isinstance(value, list) and len(value) == 2 and all(_is_int(n) and n < 1 << 16 for n in value)


def _is_hold(value: object) -> bool:
    return value is None or _is_int(value)


def _is_limit(value: object) -> bool:
    return value is None or (_is_int(value) and value != 0)


def _is_log(value: object) -> bool:
    if value is None:
        return True
    if not isinstance(value, dict) or not set(value) <= {"dir", "max_size", "max_files", "blocking"}:
        return False
    directory = value.get("dir")
    return (
        isinstance(directory, str)
        and directory.startswith("/")
        and "\0" not in directory
        and _is_limit(value.get("max_size"))
        and _is_limit(value.get("max_files"))
        and _is_bool(value.get("blocking", True))
    )


class Shape(NamedTuple):
    """What a request carries: a check for each field, and how many descriptors."""

    required: Mapping[str, Callable[[object], bool]] = {}
    optional: Mapping[str, Callable[[object], bool]] = {}
    fds: tuple[int, ...] = (0,)


_KEY: Final = {"key": _is_name}
_PROCESS: Final = {"key": _is_name, "container": _is_name, "kind": _is_kind}

REQUESTS: Final[Mapping[str, Shape]] = {
    "hello": Shape({"protocol": _is_int}),
    "launch": Shape(
        _PROCESS,
        {"terminal": _is_bool, "stdin": _is_bool, "size": _is_size, "log": _is_log, "hold": _is_hold},
        (1, 4),
    ),
    "watch": Shape(_KEY),
    "unwatch": Shape(_KEY),
    "hold": Shape({**_KEY, "segment": _is_hold}),
    "close-stdin": Shape(_KEY),
    "forget": Shape(_KEY),
    "adopt": Shape(
        _PROCESS,
        {"terminal": _is_bool, "stdin": _is_bool, "log": _is_log, "started": _is_int, "hold": _is_hold},
        (1, 2),
    ),
    "keep": Shape({"name": _is_name}, fds=(1,)),
    "kept": Shape({"name": _is_name}),
    "upgrade": Shape(),
    "shutdown": Shape(),
}

EVENTS: Final = frozenset({"process", "grew", "exited", "ready"})


def check(op: str, fields: Mapping[str, object], fds: int) -> None:
    """Check a request's form.

    :param fds: how many descriptors come with it.
    :raises InvalidInput: naming the first thing that is wrong.
    """
    shape = REQUESTS.get(op)
    if shape is None:
        raise InvalidInput(f"the keeper knows no request {op!r}")
    for name in shape.required:
        if name not in fields:
            raise InvalidInput(f"{op!r} needs the field {name!r}")
    for name, value in fields.items():
        accepts = shape.required.get(name) or shape.optional.get(name)
        if accepts is None:
            raise InvalidInput(f"{op!r} has no field {name!r}")
        if not accepts(value):
            raise InvalidInput(f"{op!r}: {name!r} cannot be {value!r}")
    if fds not in shape.fds:
        raise InvalidInput(f"{op!r} comes with {' or '.join(map(str, shape.fds))} descriptors, not {fds}")
    if op in ("launch", "adopt"):
        _check_process(op, fields, fds)


def _check_process(op: str, fields: Mapping[str, object], fds: int) -> None:
    """Check what depends on a process's kind."""
    if fields["kind"] == "container":
        if fields.get("log") is None:
            raise InvalidInput(f"{op!r}: a container needs a log")
        if fields["key"] != fields["container"]:
            raise InvalidInput(f"{op!r}: the key of a container is its ID")
    if fields["kind"] == "step" and fields["key"] != fields["container"]:
        raise InvalidInput(f"{op!r}: a step is a container of its own")
    if op == "launch":
        has_own_streams = fields["kind"] in ("exec", "step") and not fields.get("terminal", False)
        if (fds == 4) != has_own_streams:
            raise InvalidInput(
                "'launch': three stream descriptors belong to an exec or a step without terminal, and only there"
            )


# --------------------------------------------------------------------------------------------------------------- bytes


def encode(fields: Mapping[str, object]) -> bytes:
    """A message's bytes.

    :raises InvalidInput: it would be too large.
    """
    data = json.dumps(fields, separators=(",", ":")).encode()
    if len(data) > LARGEST:
        raise InvalidInput(f"a message of {len(data)} bytes is too large for the keeper", hint=f"at most {LARGEST}")
    return data


def decode(data: bytes) -> Fields:
    """A message's fields.

    :raises InvalidInput: the bytes are no JSON object.
    """
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidInput("a message is no JSON", cause=str(error)) from error
    if not isinstance(fields, dict):
        raise InvalidInput("a message is no JSON object")
    return fields


# --------------------------------------------------------------------------------------------------------------- sides


class KeeperSide:
    """What the keeper may be asked, in which order."""

    def __init__(self) -> None:
        self.greeted = False
        self._last_seq = -1

    def receive(self, data: bytes, fds: list[int]) -> Request:
        """Understand a request.

        :raises Refused: it is not well-formed, or not allowed now. The descriptors stay the caller's.
        """
        try:
            fields = decode(data)
        except InvalidInput as error:
            raise Refused(str(error)) from error
        seq, op = fields.pop("seq", None), fields.pop("op", None)
        if not isinstance(seq, int) or isinstance(seq, bool):
            raise Refused("a request needs a number in 'seq'")
        if not isinstance(op, str):
            raise Refused("a request needs its name in 'op'", seq)
        self._check_order(op, seq)
        try:
            check(op, fields, len(fds))
        except InvalidInput as error:
            raise Refused(error.message, seq) from error
        if op == "hello":
            self._greet(fields, seq)
        return Request(op, seq, fields, fds)

    def resume(self, last_seq: int) -> None:
        """Continue a conversation that a former program image has begun."""
        self.greeted, self._last_seq = True, last_seq

    @property
    def last_seq(self) -> int:
        """The largest sequence number that was accepted."""
        return self._last_seq

    def _check_order(self, op: str, seq: int) -> None:
        if seq <= self._last_seq:
            raise Refused(f"sequence number {seq} after {self._last_seq}", seq)
        self._last_seq = seq
        if (op == "hello") == self.greeted:
            raise Refused("'hello' was said before" if self.greeted else f"{op!r} before 'hello'", seq)

    def _greet(self, fields: Fields, seq: int) -> None:
        if not OLDEST <= fields["protocol"] <= PROTOCOL:
            raise Refused(f"the keeper speaks protocol {PROTOCOL}, not {fields['protocol']}", seq)
        self.greeted = True


class DaemonSide:
    """What the daemon has asked, and which answers it may get."""

    def __init__(self) -> None:
        self._seq = 0
        self._open: dict[int, str] = {}
        self._pages: list[object] = []

    def request(self, op: str, fields: Mapping[str, object], fds: int) -> tuple[int, bytes]:
        """A request's sequence number and bytes.

        :raises InvalidInput: it is not well-formed.
        """
        check(op, fields, fds)
        self._seq += 1
        data = encode({"op": op, "seq": self._seq, **fields})
        self._open[self._seq] = op
        return self._seq, data

    def receive(self, data: bytes, fds: list[int]) -> Message | None:
        """Understand an answer or event; None for the first pages of a long answer.

        :raises SystemFault: the keeper says what it may not say.
        """
        try:
            fields = decode(data)
        except InvalidInput as error:
            raise SystemFault("the keeper sent nonsense", cause=str(error)) from error
        if "event" not in fields:
            return self._answer(fields, fds)
        if fields["event"] not in EVENTS:
            raise SystemFault(f"the keeper sent an unknown event {fields['event']!r}")
        if "re" in fields:
            self._close(fields["re"])
        return Message(fields, fds)

    def _answer(self, fields: Fields, fds: list[int]) -> Message | None:
        if fields.pop("more", False) is True:
            self._pages += fields["processes"]
            return None
        if self._close(fields.get("re")) == "hello" and "processes" in fields:
            fields["processes"] = self._pages + fields["processes"]
            self._pages = []
        return Message(fields, fds)

    def _close(self, seq: object) -> str:
        op = self._open.pop(seq, None) if isinstance(seq, int) else None
        if op is None:
            raise SystemFault(f"the keeper answered {seq!r}, which was not asked")
        return op


# -------------------------------------------------------------------------------------------------------------- errors

_KINDS: Final[Mapping[str, type[WherryError]]] = {
    "command-not-found": CommandNotFound,
    "command-not-executable": CommandNotExecutable,
    "invalid": InvalidInput,
    "not-found": NotFound,
    "conflict": Conflict,
    "unsupported": Unsupported,
}


def error_fields(error: Exception) -> Fields:
    """An error as the keeper reports it."""
    kind = next((name for name, cls in _KINDS.items() if isinstance(error, cls)), "system")
    fields: Fields = {"step": "", "call": "", "errno": 0, "text": str(error), "kind": kind}
    if isinstance(error, SystemCallError | StepFailed):
        fields.update(call=error.call, errno=error.errno)
    elif isinstance(error, OSError):
        fields.update(errno=error.errno or 0)
    return fields


def error_of(fields: Mapping[str, Any]) -> WherryError:
    """The error that such fields report, from the keeper or from a child before its program."""
    text, step = str(fields.get("text") or "the keeper refused"), fields.get("step")
    kind = _KINDS.get(fields.get("kind", "system"))
    if kind is not None:
        return kind(text)
    if step:
        return StepFailed(step, text, call=fields.get("call") or "", errno=fields.get("errno") or 0)
    return SystemFault(text)
