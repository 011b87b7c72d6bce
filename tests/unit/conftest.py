"""What no unit test may leave on the machine: a process, a mount, a temporary file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says something about the machine, which others load.
# In CI the examples are the same each time: new ones are for those who can look at them.
settings.register_profile(
    "loaded",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
    database=None if os.environ.get("CI") else settings().database,
)
settings.load_profile("loaded")


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Look when all are done. Only what is this process's own counts, as others may work on the machine beside it."""
    base = tmp_path_factory.getbasetemp()
    before = _children()  # of other tests in the same session
    with pytest.MonkeyPatch.context() as patch:
        temporary = base / "t"
        temporary.mkdir()
        patch.setenv("TMPDIR", str(temporary))
        patch.setattr(tempfile, "tempdir", str(temporary))
        yield
        left = [
            *(child for child in _children() if child not in before),
            *_processes_at(base),
            *_mounts_below(base),
            *map(str, temporary.iterdir()),
        ]
    assert not left, "left by the unit tests:\n" + "\n".join(left)


def _children() -> list[str]:
    """This process's children, but for the helpers that `multiprocessing` keeps to its end."""
    pids = {pid for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()}
    words = {pid: _words(Path("/proc") / pid) for pid in pids}
    return [f"child {pid}: {text}" for pid, text in words.items() if "multiprocessing" not in text]


def _processes_at(base: Path) -> list[str]:
    """Processes, whosever children they are, that have a path below the tests' directory in command or environment.

    All that the tests start inherits such a ``TMPDIR``.
    """
    found = ((path.name, _words(path), _words(path, "environ")) for path in Path("/proc").glob("[0-9]*"))
    ours = (one for one in found if f"{base}/" in one[1] + one[2] and "multiprocessing" not in one[1])
    return [f"process {pid}: {words}" for pid, words, _ in ours if int(pid) != os.getpid()]


def _words(process: Path, name: str = "cmdline") -> str:
    with suppress(OSError):  # it has just ended, or is somebody else's
        return (process / name).read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def _mounts_below(base: Path) -> list[str]:
    points = [line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [f"mount {point}" for point in points if point.startswith(f"{base}/")]
