"""The tests that are chosen for the virtual machine are there."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from vm import chosen

TESTS = Path(__file__).parents[1]
TABLES = [chosen.KERNEL, chosen.NETWORK, chosen.E2E, chosen.ATTACK, chosen.ALONE]


@pytest.mark.parametrize("file", [file for table in TABLES for file in table])
def test_what_is_chosen_exists_and_is_told_apart_from_all(file: str) -> None:
    (tests,) = (table[file] for table in TABLES if file in table)
    tree = ast.parse((TESTS / file).read_text())
    functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    missing = {test.partition("[")[0] for test in tests} - functions
    assert tests == chosen.ALL or not missing
