"""What a vertex is called where its metadata has no name, as in BuildKit."""

from __future__ import annotations

from wherry.build.model.graph import (
    Copy,
    DiffOp,
    ExecOp,
    FileOp,
    MakeDirectory,
    MakeFile,
    MergeOp,
    Remove,
    SourceOp,
    Vertex,
)
from wherry.build.model.graph import Symlink as SymlinkAction

__all__ = ["name_of"]

_LONGEST = 4096


def name_of(vertex: Vertex) -> str:
    """A name for people, which is shown again and again: a long one is cut."""
    name = _name(vertex)
    return name if len(name) <= _LONGEST else f"{name[:_LONGEST]}..."


def _name(vertex: Vertex) -> str:
    op = vertex.op
    if vertex.metadata.name:
        return vertex.metadata.name
    if isinstance(op, SourceOp):
        return op.identifier
    if isinstance(op, ExecOp):
        return " ".join(op.args)
    if isinstance(op, FileOp):
        return ", ".join(_action(one.action) for one in op.actions)
    return {MergeOp: "merge", DiffOp: "diff"}[type(op)]


def _action(action: Copy | MakeFile | MakeDirectory | Remove | SymlinkAction) -> str:
    if isinstance(action, Copy):
        return f"copy {action.source} {action.destination}"
    if isinstance(action, MakeFile):
        return f"mkfile {action.path}"
    if isinstance(action, MakeDirectory):
        return f"mkdir {action.path}"
    if isinstance(action, SymlinkAction):
        return f"symlink {action.target} {action.path}"
    return f"rm {action.path}"
