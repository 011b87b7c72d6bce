"""A container is written by the rooms ``container`` and ``lifecycle`` of the engine only; others return values.

What the others want written goes through `Container`'s methods, whose names say what has become true.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import wherry.engine

ENGINE = Path(wherry.engine.__file__).parent
WRITERS = ("container", "lifecycle")
#: Names under which the engine's code has a container, or a part of one, in its hands.
HELD_AS = frozenset({"container", "one", "other", "host", "config", "state", "definition", "members", "health"})
CHANGING = frozenset({"append", "clear", "extend", "insert", "pop", "remove", "setdefault", "update"})


def changes(tree: ast.AST) -> Iterator[tuple[int, ast.expr]]:
    """What is assigned, deleted or changed in place: the line, and the expression."""
    for node in ast.walk(tree):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign | ast.Delete):
            targets = list(node.targets)
        elif isinstance(node, ast.AugAssign | ast.AnnAssign):
            targets = [node.target]
        elif isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute) and node.func.attr in CHANGING:
                targets = [node.func.value]
            elif isinstance(node.func, ast.Name) and node.func.id in ("setattr", "delattr"):
                targets = [ast.Attribute(node.args[0], "?")]
        for target in targets:
            parts = target.elts if isinstance(target, ast.Tuple | ast.List) else [target]
            yield from ((node.lineno, part) for part in parts)  # type: ignore[attr-defined]


def root_of(expression: ast.expr) -> str:
    """The variable whose member this is; nothing for a variable itself."""
    inner = expression
    while isinstance(inner, ast.Attribute | ast.Subscript):
        inner = inner.value
    return inner.id if isinstance(inner, ast.Name) and inner is not expression else ""


def test_only_two_rooms_write_containers() -> None:
    wrong = [
        f"{path.relative_to(ENGINE)}:{line}: {ast.unparse(expression)}"
        for path in sorted(ENGINE.rglob("*.py"))
        if path.relative_to(ENGINE).parts[0] not in WRITERS
        for line, expression in changes(ast.parse(path.read_text()))
        if root_of(expression) in HELD_AS
    ]
    assert not wrong, "\n".join(wrong)


def test_what_is_found_is_what_changes_a_container() -> None:
    lines = ("container.pid = 1", "host.links.append(2)", "del state.x[3]", "setattr(config, 'a', 4)", "one = state.y")
    found = [root_of(part) for line in lines for _, part in changes(ast.parse(line))]
    assert found == ["container", "host", "state", "config", ""]
