"""Names are the field's: retired words do not come back into identifiers. ARCHITECTURE.md has the glossary."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.sources import parsed

pytestmark = pytest.mark.once

SOURCE = Path(__file__).resolve().parents[2] / "src/wherry"

#: A retired word, and what the field says instead.
RETIRED = {
    "anew": "remount, recreate ...",
    "arrival": "lease, register, fetch",
    "arriving": "lease, register, fetch",
    "book": "store",
    "conceal": "unpublish",
    "doomed": "removal_requested, unreferenced",
    "ground": "startup",
    "halves": "repair",
    "outbox": "push_queue",
    "pile": "chain",
    "settle": "resolve, drain, wait: what is done",
    "settled": "resolved",
    "stranger": "orphan",
    "strangers": "orphans, ungreeted",
    "surroundings": "context, host_networks",
    "tell": "publish, report, notify, deliver",
    "told": "settings, options, reported",
    "whom": "",
    "wish": "requested",
    "wishes": "request",
    "world": "topology",
}
#: Names in which such a word has its plain meaning: a label of the assembly, a time.
PLAIN = re.compile(r"TELL|_SETTLED_SECONDS")


def names() -> Iterator[tuple[Path, int, str]]:
    """What the code defines or assigns: file, line, name."""
    for path in sorted(SOURCE.rglob("*.py")):
        yield path, 1, path.stem
        yield from ((path, line, name) for line, name in parsed(path).names)


def words(name: str) -> list[str]:
    """``HostNetworks`` and ``host_networks`` are the words host and networks."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+", name)]


def test_retired_words_are_in_no_name() -> None:
    found = [
        f"{path.relative_to(SOURCE)}:{line}: {name}: say {RETIRED[word] or 'it otherwise'}"
        for path, line, name in names()
        for word in words(name)
        if word in RETIRED and not PLAIN.fullmatch(name)
    ]
    assert not found, "\n".join(found)


def test_words_are_found_in_both_forms() -> None:
    assert words("_HTTPServer2Wish") == ["http", "server", "wish"]
    assert words("_oom_was_told") == ["oom", "was", "told"]
