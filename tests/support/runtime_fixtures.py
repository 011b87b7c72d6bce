"""The fixture of all tests that run containers without a daemon."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import quiet
from support.runtime_harness import Box
from wherry.runtime.launch import vfork_server, zygote


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A file system to run containers from; the test fails if anything of it stays mounted on the host."""
    yield Box(tmp_path)
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text(), "something is left mounted"


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What clones children may be late, as on a machine that is in use."""
    for source in (vfork_server, zygote):
        monkeypatch.setattr(source, "_PATIENCE", quiet.patience(10))
