"""The nodes of a parsed template."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "Action", "Block", "Call", "Chain", "Define", "Field", "If", "Jump", "Literal", "Name", "Node", "Pipeline", "Range",
    "Text", "Variable", "With",
]  # fmt: skip


@dataclass
class Node:
    """A node, with its position in the template."""

    line: int
    column: int
    source: str  # as it stands in the template, for messages


@dataclass
class Text(Node):
    """Text outside of actions."""


@dataclass
class Literal(Node):
    """A constant."""

    value: Any


@dataclass
class Name(Node):
    """A function's name."""


@dataclass
class Field(Node):
    """``.A.B``, or ``.`` without names."""

    names: list[str]


@dataclass
class Variable(Node):
    """``$x.A.B``."""

    name: str
    names: list[str]


@dataclass
class Chain(Node):
    """``(pipeline).A.B``."""

    base: Pipeline
    names: list[str]


@dataclass
class Call(Node):
    """A function or method with its arguments, or one operand alone."""

    operands: list[Node]


@dataclass
class Pipeline(Node):
    """Calls, the result of each being the last argument of the next; and the variables that get the result."""

    calls: list[Call]
    variables: list[str] = field(default_factory=list)
    declares: bool = True


@dataclass
class Action(Node):
    """``{{pipeline}}``."""

    pipeline: Pipeline


@dataclass
class If(Node):
    """``{{if}} {{else}} {{end}}``."""

    pipeline: Pipeline
    body: list[Node]
    else_body: list[Node]


@dataclass
class With(If):
    """``{{with}} {{else}} {{end}}``."""


@dataclass
class Range(If):
    """``{{range}} {{else}} {{end}}``."""


@dataclass
class Jump(Node):
    """``{{break}}`` or ``{{continue}}``."""


@dataclass
class Define(Node):
    """``{{define "name"}} {{end}}``."""

    name: str
    body: list[Node]


@dataclass
class Block(Node):
    """``{{template "name" pipeline}}``."""

    name: str
    pipeline: Pipeline | None
