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
from functools import cache
from pathlib import Path

import pytest

from support.sources import parsed

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"

ONLY_FROM = {
    "client": {"errors", "client"},
    "cli": {
        "errors",
        "legible",
        "client",
        "cli",
        "docker.gotemplate",
        "docker.reference",
        "docker.units",
        "build.model.patterns",
        "layers.limits",
        "layers.tar.entry",
        "layers.tar.writer",
        "layers.unpack",
        "startup",
    },
    "registry": {
        "errors",
        "legible",
        "oci",
        "serving",
        "registry",
        "content.durable",
        "distribution.client",
        "linux.process",
    },
}
"""Packages that may know less than their height in the table allows: a client knows the API, not the daemon; a registry
knows no images on this machine. What a client unpacks here is unpacked as carefully as a layer is.

A module of another package is named with its package: ``docker.units``, ``build.model.patterns``.
"""

PURE = {"errors": {"os", "errno", "typing", "__future__"}, "legible": {"unicodedata", "__future__"}}
"""Packages that may import nothing else at all."""


def heights() -> dict[str, int]:
    """Package to height, lowest first, from the table; packages within one row are ordered too."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `wherry.")]
    names = [name for row in rows for name in re.findall(r"`wherry\.(\w+)`", row)]
    return {name: height for height, name in enumerate(names)}


@cache
def modules() -> list[tuple[str, Path]]:
    """Every module of wherry: its dotted name and its file."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        found.append((".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return found


@cache
def imported(module: str, path: Path) -> list[tuple[int, str]]:
    """What a module imports, at any depth of its code: line and dotted name."""
    return list(imports_of(module, path))


def imports_of(module: str, path: Path) -> Iterator[tuple[int, str]]:
    """The same, from the file."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in parsed(path).imports:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        else:
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


def may_know(own: str, name: str) -> bool:
    """Whether `ONLY_FROM` lets a package import something of another one, by its dotted name."""
    allowed = ONLY_FROM.get(own)
    parts = name.split(".")[1:]
    return allowed is None or any(".".join(parts[:count]) in allowed for count in range(1, len(parts) + 1))


@pytest.mark.once
def test_the_table_names_every_package() -> None:
    present = {package_of(name) for name, _ in modules()} - {None}
    assert present <= set(heights()), "ARCHITECTURE.md's table lacks a package"


@pytest.mark.once
def test_imports_point_downwards() -> None:
    height = heights()
    wrong = []
    for module, path in modules():
        own = package_of(module)
        for line, name in imported(module, path):
            other = package_of(name)
            if other not in height or own == other:
                continue
            if own is None or height[other] > height[own] or not may_know(own, name):
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {own or 'wherry'} must not import {other}")
    assert not wrong, "\n".join(wrong)


def floors() -> dict[str, dict[str, int]]:
    """Package to room to floor, from the table of rooms."""
    found = {}
    for line in (ROOT / "ARCHITECTURE.md").read_text().splitlines():
        if row := re.fullmatch(r"\| `(\w+)/` \| (.+) \|", line):
            levels = [level.split(", ") for level in row[2].split(" · ")]
            found[row[1]] = {room: height for height, level in enumerate(levels) for room in level}
    return found


@pytest.mark.once
@pytest.mark.parametrize("package", floors())
def test_rooms_import_from_floors_below(package: str) -> None:
    height = floors()[package]
    wrong, rooms = [], set()
    for module, path in modules():
        names = module.split(".")
        if names[1:2] != [package] or len(names) == 2:
            continue
        rooms.add(own := names[2])
        for line, name in imported(module, path):
            other = (name.split(".") + [""] * 3)[:3]
            is_inside = other[:2] == ["wherry", package] and other[2] in height and own != other[2]
            if is_inside and height[other[2]] >= height.get(own, -1):
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {own} must not import {other[2]}")
    assert rooms == set(height), "the table of rooms in ARCHITECTURE.md"
    assert not wrong, "\n".join(wrong)


@pytest.mark.once
def test_no_files_import_each_other_in_a_circle() -> None:
    files = dict(modules())
    graph: dict[str, set[str]] = {}
    for module, path in files.items():
        graph[module] = {known for _, name in imported(module, path) if (known := file_of(name, files)) != module}
    while leaves := [module for module, others in graph.items() if not others & graph.keys()]:
        for module in leaves:
            del graph[module]
    assert not graph, "these import each other, or what does"


def file_of(name: str, files: dict[str, Path]) -> str:
    """The module that a dotted name is in, or is; an empty string for what is not ours."""
    while name and name not in files:
        name = name.rpartition(".")[0]
    return name


@pytest.mark.once
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
        ("wherry.daemon.serve", {"wherry.distribution", "wherry.registry"}),
        # nor, before it answers, for the rules of its firewall, which it has to look after only then
        ("wherry.daemon.serve", {"wherry.network.firewall", "wherry.linux.nftables"}),
        # every command pays for what the hot path imports
        (
            "wherry.cli.main",
            {"asyncio", "aiohttp", "msgspec", "argparse", "http.client", "ssl", "inspect", "wherry.engine"},
        ),
        (
            "wherry.cli.commands.container.run",
            {"asyncio", "aiohttp", "msgspec", "argparse", "http.client", "ssl", "wherry.engine"},
        ),
    ],
)
def test_what_must_start_fast_imports_little(module: str, banned: set[str]) -> None:
    assert loaded_by(module) & banned == set()


def test_the_command_line_does_without_packages_whatever_it_imports_when() -> None:
    """The script ``./wherry`` starts without site-packages; modules of the daemon's may need them."""
    known = {name for name, path in modules()}
    wanted = {
        name if name in known else name.rpartition(".")[0]
        for module, path in modules()
        if package_of(module) in {"cli", "client"}
        for _, name in imported(module, path)
        if package_of(name) is not None
    }
    code = (
        f"import sys, importlib; sys.path.insert(0, {str(SOURCE)!r}); [*map(importlib.import_module, {sorted(wanted)})]"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
