"""What the syntax trees of our own files say. Each file is read and parsed once, for all tests of a session."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

__all__ = ["Module", "parsed", "text_of"]


class Module(NamedTuple):
    """What the syntax tree of one file says.

    :ivar functions: name, line and length of each.
    :ivar swallowed: the lines of handlers that catch everything and do nothing.
    :ivar documented: whether it has a docstring, or nothing in it.
    :ivar imports: the statements, at any depth of the code.
    :ivar names: line and name of all that is defined or assigned.
    :ivar top: the names that are defined at its top, and the methods of its classes (``"Lifecycle.start"``).
    """

    functions: list[tuple[str, int, int]]
    swallowed: list[int]
    documented: bool
    imports: list[ast.Import | ast.ImportFrom]
    names: list[tuple[int, str]]
    top: set[str]


@cache
def text_of(path: Path) -> str:
    """A file's text."""
    return path.read_text(errors="replace")


@cache
def parsed(path: Path) -> Module:
    """Parse one file. Nothing of the tree is kept but its imports: all trees together are large."""
    tree = ast.parse(text_of(path), str(path))
    module = Module([], [], ast.get_docstring(tree) is not None or not tree.body, [], [], set(_top(tree)))
    for node in _walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                module.functions.append((node.name, node.lineno, (node.end_lineno or 0) - node.lineno + 1))
                module.names.append((node.lineno, node.name))
            case ast.ClassDef():
                module.names.append((node.lineno, node.name))
            case ast.arg():
                module.names.append((node.lineno, node.arg))
            case ast.Name(ctx=ast.Store()):
                module.names.append((node.lineno, node.id))
            case ast.Attribute(ctx=ast.Store()):
                module.names.append((node.lineno, node.attr))
            case ast.Import() | ast.ImportFrom():
                module.imports.append(node)
            case ast.ExceptHandler() if _swallows(node):
                module.swallowed.append(node.lineno)
    return module


_WATCHED = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.arg, ast.Name, ast.Attribute, ast.Import, ast.ImportFrom,
    ast.ExceptHandler,
)  # fmt: skip


def _walk(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes that `parsed` looks at; several times as fast as `ast.walk`, which asks each for its fields."""
    todo = [tree]
    for node in todo:
        if isinstance(node, _WATCHED):
            yield node
        for value in vars(node).values():
            if isinstance(value, list):
                todo += [each for each in value if isinstance(each, ast.AST)]
            elif isinstance(value, ast.AST):
                todo.append(value)


def _swallows(handler: ast.ExceptHandler) -> bool:
    """Whether it catches everything and does nothing."""
    everything = handler.type is None or getattr(handler.type, "id", "") in ("Exception", "BaseException")
    return everything and all(isinstance(line, ast.Pass) for line in handler.body)


def _top(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        match node:
            case ast.ClassDef():
                yield node.name
                functions = (each for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef))
                yield from (f"{node.name}.{function.name}" for function in functions)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield node.name
            case ast.Assign(targets=targets):
                yield from (target.id for target in targets if isinstance(target, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name
