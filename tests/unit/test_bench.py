"""The tables of figures on our pages are those of the results."""

from __future__ import annotations

import pytest
from bench import publish, table

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
