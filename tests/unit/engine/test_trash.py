"""Removal in the background: whoever waits for it hears that it is over, whatever happened."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from wherry.content.durable import remove_tree
from wherry.database.disk_reserve import Reserve
from wherry.engine.lifecycle import trash as module
from wherry.engine.lifecycle.trash import Trash


@pytest.fixture
def trash(tmp_path: Path) -> Trash:
    return Trash(tmp_path / "tmp", Reserve(tmp_path / "reserve"))


async def test_a_tree_is_gone_when_it_was_waited_for(trash: Trash, tmp_path: Path) -> None:
    (tmp_path / "tree/below").mkdir(parents=True)
    await asyncio.wait_for(trash.delete(tmp_path / "tree"), 20)
    assert not (tmp_path / "tree").exists()


async def test_a_fault_keeps_nobody_waiting(trash: Trash, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path) -> None:
        raise MemoryError

    monkeypatch.setattr(module, "remove_tree", fail)
    for _ in range(5):  # more than there are threads
        await asyncio.wait_for(trash.delete(tmp_path / "tree"), 20)


async def test_what_no_thread_can_remove_is_left(trash: Trash, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    (tmp_path / "tree").mkdir()
    with monkeypatch.context() as without:
        without.setattr(threading.Thread, "start", refuse)
        await asyncio.wait_for(trash.delete(tmp_path / "tree"), 20)
    assert (tmp_path / "tree").exists()
    await asyncio.wait_for(trash.delete(tmp_path / "tree"), 20)
    assert not (tmp_path / "tree").exists()


def _left(tmp_path: Path) -> Path:
    """What a container that has written nothing leaves."""
    left = tmp_path / "tmp/leaving-1"
    for name in ("upper", "work/work"):
        (left / name).mkdir(parents=True)
    (left / "hosts").write_text("127.0.0.1\tlocalhost\n")
    return left


@pytest.mark.parametrize("written", ["", "upper/deep/down", "work/work/index", "logs", "hosts"])
async def test_only_what_is_next_to_nothing_is_deleted_without_a_thread(
    tmp_path: Path, written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserve = Reserve(tmp_path / "reserve")
    reserve.renew()
    trash = Trash(tmp_path / "tmp", reserve)
    left, in_thread = _left(tmp_path), list[Path]()
    if written == "hosts":  # a container may have written without end
        os.truncate(left / written, 2 << 20)
    elif written:
        (left / written).mkdir(parents=True)
    monkeypatch.setattr(module, "remove_tree", lambda path: in_thread.append(path) or remove_tree(path))
    await asyncio.wait_for(trash.delete_container(left), 20)
    assert bool(in_thread) is bool(written)
    assert not list((tmp_path / "tmp").iterdir())


async def test_a_reserve_that_was_spent_is_renewed_by_the_next_deletion(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path / "reserve")
    trash = Trash(tmp_path / "tmp", reserve)
    await asyncio.wait_for(trash.delete_container(_left(tmp_path)), 20)
    assert reserve.is_whole
    assert not list((tmp_path / "tmp").iterdir())
