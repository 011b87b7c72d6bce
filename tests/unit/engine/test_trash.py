"""Removal in the background: whoever waits for it hears that it is over, whatever happened."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("written", ["", "upper/deep/down", "work/work/index", "logs", "hosts/odd"])
async def test_of_a_container_all_goes_whatever_it_has_written(trash: Trash, tmp_path: Path, written: str) -> None:
    left = tmp_path / "tmp/leaving-1"
    for name in ("upper", "work/work", written):
        (left / name).mkdir(parents=True, exist_ok=True)
    (left / "hostname").write_text("web\n")
    await asyncio.wait_for(trash.delete(left), 20)
    assert not list((tmp_path / "tmp").iterdir())
