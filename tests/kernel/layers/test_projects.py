"""Limits on directories, by the project quotas of ext4 and XFS. Where the kernel has none, the virtual machine has."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.needs import need
from support.quota_disks import DISKS, quota_disk
from wherry.database.database import Database
from wherry.errors import Unsupported
from wherry.layers.projects import Projects
from wherry.linux import project_quota
from wherry.linux.fd import Fd

pytestmark = need("root")

MIB = 1 << 20
FULL = {"ext4": "Disk quota exceeded", "xfs": "No space left on device"}


@pytest.fixture(scope="module", params=sorted(DISKS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def shared_disk(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with quota_disk(kind, tmp_path_factory.mktemp("disk")) as place:
        yield place


@pytest.fixture
def disk(shared_disk: Path, tmp_path: Path) -> Path:
    """A directory of this test's own."""
    place = shared_disk / tmp_path.name
    place.mkdir()
    return place


@pytest.fixture
def projects(disk: Path, tmp_path: Path) -> Iterator[Projects]:
    database = Database(tmp_path / "wherry.db")
    yield Projects(database, disk)
    database.close()


def write(path: Path, size: int) -> str:
    """Write as root without ``CAP_SYS_RESOURCE``, which ext4 lets through; returns what is said about it."""
    command = ["dd", "if=/dev/zero", f"of={path}", f"bs={MIB}", f"count={size // MIB}", "conv=fsync", "status=none"]
    alone = ["setpriv", "--bounding-set", "-sys_resource", "--inh-caps", "-sys_resource"]
    return subprocess.run([*alone, *command], capture_output=True, text=True, check=False).stderr


def project_of(path: Path) -> int:
    with Fd(os.open(path, os.O_RDONLY)) as fd:
        return project_quota.get_project(fd)


def directories(disk: Path, *names: str) -> list[Path]:
    paths = [disk / name for name in names]
    for path in paths:
        path.mkdir()
    return paths


def test_directories_share_a_limit_and_nobody_else_is_kept_to_it(kind: str, disk: Path, projects: Projects) -> None:
    first, second, other = directories(disk, "first", "second", "other")
    number = projects.limit("container:a", [first, second], 4 * MIB)
    (first / "deep").mkdir()
    assert not write(first / "deep/file", 3 * MIB)
    assert FULL[kind] in write(second / "file", 3 * MIB)
    assert not write(other / "file", 6 * MIB)
    assert project_of(first / "deep/file") == number
    assert project_of(other) == 0
    quota = projects.quota("container:a")
    assert quota is not None
    assert quota.limit == 4 * MIB
    assert 3 * MIB <= quota.used <= 4 * MIB
    room = os.statvfs(first)
    assert room.f_blocks * room.f_frsize == 4 * MIB, "programs inside see how much there is"


def test_a_limit_is_changed_and_lifted(disk: Path, projects: Projects) -> None:
    [directory] = directories(disk, "one")
    projects.limit("volume:v", [directory], MIB)
    projects.change("volume:v", 4 * MIB)
    assert not write(directory / "file", 3 * MIB)
    projects.lift("volume:v")
    assert not write(directory / "more", 3 * MIB)
    assert projects.quota("volume:v") is None


def test_a_number_is_never_given_twice(disk: Path, projects: Projects, tmp_path: Path) -> None:
    [one, two, three] = directories(disk, "one", "two", "three")
    first = projects.limit("container:a", [one], MIB)
    projects.lift("container:a")
    second = projects.limit("container:a", [two], MIB)
    assert second > first
    with Fd(os.open(disk, os.O_RDONLY)) as fd:  # another program on this file system takes the next one
        project_quota.set_limit(fd, second + 1, MIB)
    database = Database(tmp_path / "wherry.db")  # the next daemon
    again = Projects(database, disk)
    assert again.limit("container:c", [three], MIB) == second + 2
    assert again.quota("container:a") is not None, "limits are known after a restart"
    database.close()


def test_what_a_crash_has_left_is_swept(disk: Path, projects: Projects) -> None:
    [one, two, three] = directories(disk, "one", "two", "three")
    gone = projects.limit("container:gone", [one], MIB)
    projects.limit("container:there", [two], MIB)
    projects.limit("volume:other", [three], MIB)
    projects.sweep("container:", {"container:there"}.__contains__)
    assert projects.quota("container:gone") is None
    assert projects.quota("container:there") is not None
    assert projects.quota("volume:other") is not None
    with Fd(os.open(disk, os.O_RDONLY)) as fd:
        assert project_quota.get_quota(fd, gone).limit == 0


def test_one_sentence_says_why_there_are_no_limits(kind: str, tmp_path: Path) -> None:
    database = Database(tmp_path / "wherry.db")
    with quota_disk(kind, tmp_path, "rw") as disk:
        projects = Projects(database, disk)
        assert "has no project quotas" in str(projects.why_not())
        with pytest.raises(Unsupported, match="mounted with 'pquota'"):
            projects.limit("volume:v", directories(disk, "one"), MIB)
        assert projects.quota("volume:v") is None
    database.close()
