"""What operations on files leave behind: their results, and nothing that was only on the way to them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.needs import need
from support.snapshots import World, world
from wherry.build.files.difference import diff, merge
from wherry.build.files.evaluate import Evaluation
from wherry.build.model.graph import NO_INPUT, NO_OUTPUT, Copy, FileAction, FileOp, MakeFile, Remove
from wherry.build.model.snapshot import EMPTY, Snapshot, SnapshotLayer
from wherry.errors import InvalidInput, NotFound, Unavailable

pytestmark = need("root", "overlay")


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path / "data") as made:
        yield made


@pytest.fixture
def clients(tmp_path: Path) -> Callable[[str], Snapshot]:
    """Makes directories of a client's, by their names, with two files in each."""

    def make(name: str) -> Snapshot:
        made = tmp_path / name
        made.mkdir()
        for one in ("same", name):
            (made / one).write_text(name)
        return Snapshot((SnapshotLayer(-1, str(made)),))

    return make


def left(here: World) -> set[int]:
    """The layers that are there; no draft is."""
    here.snapshots.wait_for_removals()
    root = here.images.layers.root
    assert os.listdir(root.parent / "build/drafts") == []
    return {int(name) for name in os.listdir(root) if name.isdecimal() and int(name)}


def numbers(*snapshots: Snapshot) -> set[int]:
    return {layer.number for snapshot in snapshots for layer in snapshot.layers}


class Interrupting:
    """A check that raises when it is called for the nth time."""

    def __init__(self, at: int) -> None:
        self._left = at

    def __call__(self) -> None:
        self._left -= 1
        if self._left == 0:
            raise Unavailable("the build was cancelled")

    @property
    def was_reached(self) -> bool:
        return self._left <= 0


def at_each_check(here: World, work: Callable[[Callable[[], None]], object]) -> int:
    """Interrupt work at its first check, at its second ..., until it is done; nothing may be left of it."""
    before = left(here)
    for at in range(1, 1000):
        check = Interrupting(at)
        try:
            work(check)
        except Unavailable:
            assert left(here) == before, at
        else:
            assert not check.was_reached
            return at
    raise AssertionError("it is never done")


def test_a_difference_leaves_no_copy_however_far_it_came(here: World, clients: Callable[[str], Snapshot]) -> None:
    lower, upper = clients("lower"), clients("upper")
    assert at_each_check(here, lambda check: diff(here.snapshots, lower, upper, check)) > 5
    assert len(left(here)) == 1


def test_a_merge_leaves_no_copy_however_far_it_came(here: World, clients: Callable[[str], Snapshot]) -> None:
    inputs = [clients("one"), here.layer({"layer": b"1"}), clients("other")]
    assert at_each_check(here, lambda check: merge(here.snapshots, inputs, check)) > 4
    assert len(left(here)) == 3


def test_a_file_operation_leaves_no_copy_however_far_it_came(here: World, clients: Callable[[str], Snapshot]) -> None:
    inputs = [clients("one"), clients("other")]
    op = FileOp((
        FileAction(Copy("/other", "/new"), 0, 1, output=0),
        FileAction(Copy("/one", "/new"), 1, 0, output=1),
    ))  # fmt: skip
    assert at_each_check(here, lambda check: Evaluation(here.snapshots, op, inputs, check).run()) > 6
    assert len(left(here)) == 4


def test_a_clients_directory_that_is_merged_often_is_copied_once(
    here: World, clients: Callable[[str], Snapshot]
) -> None:
    one, other = clients("one"), clients("other")
    result = merge(here.snapshots, [one, other, one] + [other] * 1000)
    assert len(result.layers) == 2
    assert left(here) == numbers(result)


def test_too_many_inputs_are_refused_before_they_are_copied(
    here: World, clients: Callable[[str], Snapshot], tmp_path: Path
) -> None:
    first = clients("first")
    many = [Snapshot((SnapshotLayer(-1, str(tmp_path / f"none{number}")),)) for number in range(480)]
    with pytest.raises(InvalidInput, match="max depth exceeded: 481 layers"):
        merge(here.snapshots, [first, *many])
    assert left(here) == set()


def test_results_that_only_other_actions_needed_do_not_stay(here: World) -> None:
    op = FileOp((
        FileAction(MakeFile("/one", 0o600, b"1"), NO_INPUT, output=0),
        FileAction(MakeFile("/two", 0o600, b"2"), 0, output=NO_OUTPUT),
        FileAction(Copy("/two", "/three"), 0, 1, output=1),
    ))  # fmt: skip
    first, second = Evaluation(here.snapshots, op, []).run()
    assert left(here) == numbers(first, second)
    assert Path(second.layers[-1].path, "three").read_text() == "2"


def test_a_later_action_that_fails_takes_copies_along(here: World, clients: Callable[[str], Snapshot]) -> None:
    op = FileOp((
        FileAction(MakeFile("/one", 0o600, b"1"), 0, output=0),
        FileAction(Remove("/none"), 1, output=1),
    ))  # fmt: skip
    with pytest.raises(NotFound):
        Evaluation(here.snapshots, op, [clients("one")]).run()
    with pytest.raises(InvalidInput, match="numbered"):
        Evaluation(here.snapshots, FileOp((FileAction(MakeFile("/x", 0o600, b""), 0, output=5),)), [EMPTY]).run()
    assert left(here) == set()


def test_a_file_that_would_be_a_whiteout_is_in_no_image(here: World) -> None:
    for files in ({".wh.x": b"1"}, {"d/.wh..wh..opq": b""}, {"d/.wh.d/f": b""}):
        snapshot = here.layer(files)
        here.snapshots.hold(snapshot)
        with here.images.lease() as lease, pytest.raises(InvalidInput, match=r"\.wh\..* cannot be in an image"):
            here.snapshots.blobs(snapshot, lease)
        here.snapshots.release(snapshot)
