"""The tests that are chosen to run once more, in the virtual machine or on cgroup version 2 alone, are there."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import cgroup2
from vm import chosen

TESTS = Path(__file__).parents[1]
TABLES = [*chosen.TABLES, cgroup2.TESTS]


@pytest.mark.parametrize(("file", "tests"), [one for table in TABLES for one in table.items()])
def test_what_is_chosen_exists_and_is_told_apart_from_all(file: str, tests: tuple[str, ...]) -> None:
    tree = ast.parse((TESTS / file).read_text())
    functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    missing = {test.partition("[")[0] for test in tests} - functions
    assert tests == chosen.ALL or not missing
