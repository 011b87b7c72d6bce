"""The fixture of all tests that run containers without a daemon."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.runtime_harness import Box


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A file system to run containers from; the test fails if anything of it stays mounted on the host."""
    yield Box(tmp_path)
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text(), "something is left mounted"
