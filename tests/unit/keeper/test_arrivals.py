"""A child that does not come to its program is given up, whatever it waits for; the keeper itself waits for nothing."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.plain_keeper import PlainChild, PlainLauncher
from wherry.errors import SystemCallError
from wherry.keeper import awaiting_exec, failed_children
from wherry.keeper.loop import Loop
from wherry.keeper.process import Process
from wherry.keeper.process_table import ProcessTable
from wherry.linux.fd import Fd
from wherry.runtime.report import Report

FIELDS = {"key": "c", "container": "c", "kind": "container"}


class Stuck(PlainChild):
    """A child that says nothing; or of which nothing can be learnt."""

    fault: Exception | None = None
    cleaned = False

    def report(self) -> Report:
        if self.fault is not None:
            raise self.fault
        return super().report()

    def clean_up(self) -> None:
        self.cleaned = True


class StuckLauncher(PlainLauncher):
    """Its children stand still before they report."""

    child: Stuck

    def __init__(self) -> None:
        self.pids: list[int] = []

    def launch(self, plan: bytes, stdio: tuple[Fd, Fd, Fd] | None, size: tuple[int, int] | None) -> PlainChild:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        pid = os.fork()
        if pid == 0:
            while True:
                signal.pause()
        if json.loads(plan).get("speaks"):
            theirs.send(b"{}")
        theirs.close()
        self.pids.append(pid)
        self.child = Stuck(pid, ours, None)
        return self.child


class Scene:
    """Processes of a launcher, and what becomes of one start."""

    def __init__(self, root: Path) -> None:
        self.loop = Loop()
        self.launcher = StuckLauncher()
        self.processes = ProcessTable(
            str(root), self.launcher, self.loop, on_exit=lambda _: True, on_growth=lambda _: None
        )
        self.told: list[dict[str, Any] | None] = []
        self.log = {"dir": str(root / "log")}

    def start(self, **plan: object) -> None:
        def done(process: Process, error: dict[str, Any] | None) -> None:
            self.told.append(error)

        self.processes.start({**FIELDS, "log": self.log}, json.dumps(plan).encode(), None, done)

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline
            self.loop.run_once(0.01)

    def until_told(self) -> dict[str, Any]:
        self.until(lambda: self.told)
        (error,) = self.told
        assert error is not None
        return error


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    scene.processes.give_up_starts()
    scene.until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in scene.launcher.pids))
    scene.loop.close()


def test_a_start_that_takes_too_long_fails_and_leaves_nothing(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(awaiting_exec, "PATIENCE", 0.05)
    scene.start()
    pid = scene.launcher.child.pid
    error = scene.until_told()
    assert (error["step"], error["kind"]) == ("prepare the container", "system")
    assert error["text"] == "it takes too long: a file system that it was given does not answer"
    scene.until(lambda: scene.launcher.child.cleaned)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert list(scene.processes) == []
    assert os.listdir(tmp_path / "containers/c") == []


def test_an_upgrade_waits_for_no_start_that_does_not_come_to_its_end(scene: Scene) -> None:
    scene.start()
    scene.processes.give_up_births()
    assert not scene.told, "it is the container's own start, and nobody in a container holds it up"
    scene.processes.give_up_starts()
    assert scene.until_told()["step"] == "prepare the container"


def test_a_child_of_which_nothing_can_be_learnt_has_failed(scene: Scene) -> None:
    scene.start(speaks=True)
    scene.launcher.child.fault = SystemCallError("pidfd_open", "", 24)
    assert scene.until_told()["errno"] == 24
    assert list(scene.processes) == []
    scene.processes.give_up_starts()
    assert len(scene.told) == 1


def test_what_was_made_for_a_start_that_was_given_up_stays_when_the_next_one_uses_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.start()
    first = scene.launcher.child
    with monkeypatch.context() as deaf:  # it waits in the kernel, and does not end when it is killed
        deaf.setattr(failed_children, "pidfd_send_signal", lambda *_: None)
        scene.processes.give_up_starts()
    scene.start()
    os.kill(first.pid, signal.SIGKILL)
    scene.until(lambda: not os.path.exists(f"/proc/{first.pid}"))
    scene.loop.run_once(0)
    assert not first.cleaned
    assert [process.key for process in scene.processes] == ["c"]
