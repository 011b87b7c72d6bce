"""A file that looks as it did is not read again; one that may have changed unseen is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from wherry.build.files import content_sums
from wherry.build.files.content_sums import ContentSums, Sums


def digest(sums: Sums, directory: Path, name: str) -> bytes:
    fd = os.open(directory, os.O_RDONLY)
    try:
        return sums.digest(fd, name.encode(), os.stat(name, dir_fd=fd))
    finally:
        os.close(fd)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The names of the files that are read."""
    found: list[bytes] = []
    real = content_sums._read

    def read(directory: int, name: bytes, check: Callable[[], object]) -> bytes:
        found.append(name)
        return real(directory, name, check)

    monkeypatch.setattr(content_sums, "_read", read)
    return found


def begin(sums: Sums, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the files had been there for an hour."""
    later = time.time_ns() + 3600 * 10**9
    monkeypatch.setattr(content_sums.time, "time_ns", lambda: later)
    sums.begin()


def test_a_file_is_read_once(tmp_path: Path, reads: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("1")
    sums = Sums()
    for _ in range(3):
        begin(sums, monkeypatch)
        first = digest(sums, tmp_path, "file")
        sums.end()
    assert reads == [b"file"]
    (tmp_path / "file").write_text("22")
    begin(sums, monkeypatch)
    assert digest(sums, tmp_path, "file") != first
    assert reads == [b"file", b"file"]


def test_attributes_count_and_change_a_files_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("1")
    sums = Sums()
    begin(sums, monkeypatch)
    first = digest(sums, tmp_path, "file")
    try:
        os.setxattr(tmp_path / "file", "user.x", b"1")
    except OSError:
        pytest.skip("no attributes here")
    assert digest(sums, tmp_path, "file") != first


def test_a_file_that_changed_just_now_is_not_remembered(tmp_path: Path, reads: list[bytes]) -> None:
    sums = Sums()
    sums.begin()
    (tmp_path / "file").write_text("1")
    digest(sums, tmp_path, "file")
    assert not sums.end()
    sums.begin()
    digest(sums, tmp_path, "file")
    assert reads == [b"file", b"file"]


def test_sums_outlive_the_process_and_damage_makes_them_forget(
    tmp_path: Path, reads: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("1")
    kept = ContentSums(tmp_path / "kept")
    sums = kept.take("/context")
    begin(sums, monkeypatch)
    digest(sums, tmp_path, "file")
    kept.put("/context", sums, changed=sums.end())
    again = ContentSums(tmp_path / "kept").take("/context")
    begin(again, monkeypatch)
    digest(again, tmp_path, "file")
    assert reads == [b"file"]
    [path] = (tmp_path / "kept").iterdir()
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    damaged = ContentSums(tmp_path / "kept").take("/context")
    begin(damaged, monkeypatch)
    digest(damaged, tmp_path, "file")
    assert reads == [b"file", b"file"]
    kept.expire()
    assert path.exists()
    os.utime(path, (0, 0))
    kept.expire()
    assert not path.exists()


def test_a_second_user_of_the_same_directory_begins_with_nothing(tmp_path: Path) -> None:
    kept = ContentSums(tmp_path / "kept")
    first = kept.take("/context")
    assert kept.take("/context") is not first
    kept.put("/context", first, changed=False)
    assert kept.take("/context") is first
