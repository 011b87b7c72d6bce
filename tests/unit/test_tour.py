"""The tour (docs/tour.md) and CONTRIBUTING lead along files, directories and names that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from support.sources import parsed
from wherry.cli.console import flush

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[2]


def named_in_tour() -> Iterator[tuple[str, list[str]]]:
    """The rows of the tour's tables: a file below src/wherry, and the names that are in it."""
    for line in (ROOT / "docs/tour.md").read_text().splitlines():
        cells = [re.findall(r"`([^`]+)`", cell) for cell in line.split("|") if line.startswith("|")]
        where = next((place for place, found in enumerate(cells) if found and found[0].endswith(".py")), None)
        if where is not None:
            yield cells[where][0], cells[where + 1]


def test_the_tour_leads_along_files_and_names_that_exist() -> None:
    wrong = []
    for name, names in named_in_tour():
        path = ROOT / "src/wherry" / name
        missing = set(names) - parsed(path).top if path.exists() else {"the file"}
        wrong += [f"docs/tour.md: {name}: {each}" for each in sorted(missing)]
    assert not wrong, "\n".join(wrong)


def test_the_directories_that_contributing_names_exist() -> None:
    named = set(re.findall(r"`([a-z0-9_/]+/)`", (ROOT / "CONTRIBUTING.md").read_text()))
    assert named
    missing = [
        name for name in sorted(named) if not any((base / name).is_dir() for base in (ROOT, ROOT / "src/wherry"))
    ]
    assert not missing


def test_the_verb_that_contributing_shows_works(capsys: pytest.CaptureFixture[str]) -> None:
    example = re.findall(r"(?s)```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text())[0]
    module: dict[str, Any] = {"__name__": "age"}
    exec(compile(example, "CONTRIBUTING.md", "exec"), module)
    containers = SimpleNamespace(inspect=lambda ref: {"Created": f"when {ref} was made"})
    context = SimpleNamespace(client=SimpleNamespace(containers=containers))
    assert module["run"](context, {}, ["a", "b"]) == 0
    flush()
    assert capsys.readouterr().out == "when a was made\nwhen b was made\n"
