"""The namespace in which volumes are mounted, after somebody has died at the wrong moment."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from support.needs import need
from wherry.linux.fd import Fd
from wherry.runtime.steps.mounts import new_file_system
from wherry.volumes.mount_space import MountSpace

pytestmark = need("root", "namespaces")

T = TypeVar("T")


def apart(work: Callable[[], T]) -> T:
    """In a thread that ends afterwards."""
    found: list[T] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


@pytest.fixture
def space(tmp_path: Path) -> MountSpace:
    (place := tmp_path / "place").mkdir()
    return apart(lambda: MountSpace.make(place))


def memory(uid: int) -> Fd:
    return new_file_system("tmpfs", "tmpfs", (("uid", str(uid)),), 0)


def test_a_place_without_a_mount_is_none_and_two_mounts_go_together(space: MountSpace) -> None:
    def half() -> None:
        space._enter()
        os.mkdir("/half", 0o700)

    apart(half)
    assert apart(space.names) == []
    apart(lambda: space.attach("half", memory(1)))
    apart(lambda: space.attach("half", memory(2)))  # the first was mounted, and not noted
    assert apart(space.names) == ["half"]
    with apart(lambda: space.take("half", "")) as tree:
        assert os.fstat(tree.fileno()).st_uid == 2
    apart(lambda: space.detach(["half", "nothing"]))
    assert apart(space.names) == []
    apart(lambda: space.attach("half", memory(3)))
    with apart(lambda: space.take("half", "")) as tree:
        assert os.fstat(tree.fileno()).st_uid == 3
