"""Numbers of projects, on a kernel that is a dictionary; the real one is in `tests/kernel/layers`."""

from __future__ import annotations

from pathlib import Path

import pytest

from wherry.database.database import Database
from wherry.errors import SystemFault, Unsupported
from wherry.layers import projects as module
from wherry.layers.projects import Projects
from wherry.linux.project_quota import Quota


class Kernel:
    """The quotas of one file system."""

    def __init__(self, limits: dict[int, int]) -> None:
        self.limits = limits
        self.projects: list[int] = []

    def enforced(self, _fd: object) -> bool:
        return True

    def get_quota(self, _fd: object, number: int) -> Quota:
        return Quota(self.limits.get(number, 0), 0, 0)

    def set_limit(self, _fd: object, number: int, size: int) -> None:
        self.limits[number] = size

    def set_project(self, _fd: object, number: int) -> None:
        self.projects.append(number)


def test_a_sentence_says_that_this_file_system_has_no_limits(tmp_path: Path) -> None:
    database = Database(tmp_path / "wherry.db")
    projects = Projects(database, tmp_path)
    if projects.why_not() is None:
        pytest.skip("here it has")
    with pytest.raises(Unsupported, match="has no project quotas"):
        projects.limit("container:a", [tmp_path], 1 << 20)
    assert projects.quota("container:a") is None
    projects.lift("container:a")
    database.close()


def test_numbers_of_others_are_left_out_and_none_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel({})
    monkeypatch.setattr(module, "project_quota", kernel)
    database = Database(tmp_path / "wherry.db")
    projects = Projects(database, tmp_path)
    first = projects.limit("a", [tmp_path], 1024)
    kernel.limits[first + 1] = 5
    projects.lift("a")
    assert kernel.limits[first] == 0
    assert projects.limit("b", [tmp_path], 1024) == first + 2
    assert kernel.projects == [first, first + 2]
    database.close()


def test_what_fails_half_way_leaves_no_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel({})
    monkeypatch.setattr(module, "project_quota", kernel)
    database = Database(tmp_path / "wherry.db")
    projects = Projects(database, tmp_path)
    with pytest.raises(FileNotFoundError):
        projects.limit("a", [tmp_path / "missing"], 1024)
    assert list(kernel.limits.values()) == [0]
    assert projects.quota("a") is None
    kernel.get_quota = lambda _fd, _number: Quota(1, 0, 0)  # type: ignore[method-assign]
    with pytest.raises(SystemFault, match="no free number"):
        projects.limit("b", [tmp_path], 1024)
    database.close()
