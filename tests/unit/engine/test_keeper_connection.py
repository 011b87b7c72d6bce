"""The fake keeper and the real one, with plain processes, do the same for an engine: `support.keeper_conformance`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.fake_keeper import FakeConnection, FakeKeeper
from support.keeper_conformance import CHECKS, Check, Subject, run
from support.plain_keeper import RunningKeeper
from wherry.engine.keeper.connection import KeeperConnection
from wherry.engine.lifecycle.start import plan_memfd
from wherry.linux.fd import Fd
from wherry.linux.files import memfd
from wherry.runtime.plan import Plan
from wherry.runtime.steps.process import Execute


class Fake:
    """The fake one."""

    def __init__(self, exec_root: Path) -> None:
        self.keeper, self.exec_root = FakeKeeper(), exec_root

    def connection(self) -> KeeperConnection:
        return FakeConnection(self.keeper, self.exec_root)

    def plan(self, argv: list[str]) -> Fd:
        return plan_memfd("c", Plan(steps=(Execute(tuple(argv)),)))


class Plain:
    """The real one, whose launcher forks and executes."""

    def __init__(self, exec_root: Path) -> None:
        self.keeper, self.exec_root = RunningKeeper(exec_root), exec_root
        self.keeper.start()

    def connection(self) -> KeeperConnection:
        return KeeperConnection(self.exec_root)

    def plan(self, argv: list[str]) -> Fd:
        return memfd("plan", json.dumps({"argv": argv}).encode())


@pytest.fixture(params=["fake", "real"])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    if request.param == "fake":
        fake = Fake(tmp_path)
        yield fake
        fake.keeper.close()
    else:
        plain = Plain(tmp_path)
        yield plain
        plain.keeper.stop()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_keeper_does_what_the_engine_relies_on(check: Check, subject: Subject) -> None:
    run(check, subject)
