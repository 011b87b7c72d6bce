"""Imports point downwards in the package table of ARCHITECTURE.md, and what must start fast stays light.

Imports for type checkers count as well: a type is knowledge of the other package.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"

ONLY_FROM = {
    "client": {"errors", "client"},
    "cli": {"errors", "client", "cli"},
}
"""Packages that may know less than their height in the table allows: a client knows the API, not the daemon."""

PURE = {"errors": {"os", "errno", "typing", "__future__"}}
"""Packages that may import nothing else at all."""


def heights() -> dict[str, int]:
    """Package to height, lowest first, from the table; packages within one row are ordered too."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `wherry.")]
    names = [name for row in rows for name in re.findall(r"`wherry\.(\w+)`", row)]
    return {name: height for height, name in enumerate(names)}


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of wherry: its dotted name and its file."""
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imported(module: str, path: Path) -> Iterator[tuple[int, str]]:
    """What a module imports, at any depth of its code: line and dotted name."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            # "from wherry import engine" imports a package by the name after the import
            yield from ((node.lineno, f"{base}.{name.name}") for name in node.names)


def package_of(module: str) -> str | None:
    """``"wherry.linux.mount"`` is of ``"linux"``; what is not of wherry is of no package."""
    parts = module.split(".")
    return parts[1] if parts[0] == "wherry" and len(parts) > 1 else None


def test_the_table_names_every_package() -> None:
    present = {package_of(name) for name, _ in modules()} - {None}
    assert present <= set(heights()), "ARCHITECTURE.md's table lacks a package"


def test_imports_point_downwards() -> None:
    height = heights()
    wrong = []
    for module, path in modules():
        own = package_of(module)
        for line, name in imported(module, path):
            other = package_of(name)
            if other not in height or own == other:
                continue
            if own is None or height[other] > height[own] or other not in ONLY_FROM.get(own, height):
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {own or 'wherry'} must not import {other}")
    assert not wrong, "\n".join(wrong)


def test_the_errors_import_nothing_of_wherry() -> None:
    for module, path in modules():
        for line, name in imported(module, path):
            allowed = PURE.get(package_of(module) or "")
            assert allowed is None or name.split(".")[0] in allowed, f"{path}:{line} imports {name}"


def loaded_by(module: str) -> set[str]:
    """The top-level and wherry modules that a fresh interpreter has loaded once it has imported ``module``."""
    code = f"import sys, json, {module}; print(json.dumps(sorted(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run(
        [sys.executable, "-S", "-c", bare(code)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def bare(code: str) -> str:
    """``code``, with this interpreter's site directories but without what their .pth files import."""
    extra = [entry for entry in sys.path if entry.endswith("site-packages")]
    return f"import sys; sys.path += {extra!r}; {code}"


@pytest.mark.parametrize(
    ("module", "banned"),
    [
        # one keeper per host, small for ever: every megabyte and every thread here is there for good
        ("wherry.keeper.main", {"asyncio", "aiohttp", "msgspec", "ssl", "sqlite3", "concurrent.futures", "inspect"}),
        # a daemon that pulls nothing pays nothing for it
        ("wherry.daemon.serve", {"wherry.registry", "wherry.registry.client", "wherry.registry.transfer"}),
        # every command pays for what the hot path imports
        (
            "wherry.cli.main",
            {"asyncio", "aiohttp", "msgspec", "argparse", "http.client", "ssl", "inspect", "wherry.engine"},
        ),
        (
            "wherry.cli.commands.run",
            {"asyncio", "aiohttp", "msgspec", "argparse", "http.client", "ssl", "wherry.engine"},
        ),
    ],
)
def test_what_must_start_fast_imports_little(module: str, banned: set[str]) -> None:
    assert loaded_by(module) & banned == set()
