"""The tables of figures on our pages are those of the results."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest
from bench import interpreter, publish, table
from bench.measure import Row

pytestmark = pytest.mark.once


def test_the_pages_show_what_was_measured() -> None:
    for page, text in publish.tables(table.read(publish.RESULTS)).items():
        assert text in page.read_text(), f"{page}: run python -m bench.publish"
        assert publish.with_table(page.read_text(), text) == page.read_text()


def test_the_readme_shows_six_rows() -> None:
    assert len(publish.SHOWN_FIRST) == 6


def test_a_table_replaces_the_one_between_the_marks() -> None:
    page = "before\n<!-- bench -->\n| old |\n<!-- /bench -->\nafter"
    assert publish.with_table(page, "| \\1 |") == "before\n<!-- bench -->\n| \\1 |\n<!-- /bench -->\nafter"


def test_each_row_says_on_which_build_of_python_it_was_measured(tmp_path: Path) -> None:
    """Builds of one version differ by a third; what was not measured again keeps its own."""
    target = tmp_path / "results.json"
    for title, python in (("a", "slow"), ("b", "slow"), ("a", interpreter.build())):
        table.write(target, [Row(title, "ms", {"wherry": [1.0]})], {"at": "now", "python": python})
    found = {row["title"]: row["python"] for row in json.loads(target.read_text())["rows"]}
    assert found == {"a": interpreter.build(), "b": "slow"}
    assert interpreter.build().startswith(platform.python_version())
