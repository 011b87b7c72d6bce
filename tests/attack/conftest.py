"""The engine as an adversary meets it: a file per kind of attack, with the same fixtures as the end-to-end tests."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from support.daemons import Daemon
from support.runtime_fixtures import box

__all__ = ["box"]


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.import_plugin("support.engine_fixtures")


@pytest.fixture(scope="session", autouse=True)
def _protected(protected: None) -> None:
    pass


@pytest.fixture
def unharmed(daemon: Daemon) -> Iterator[None]:
    """Whatever a test did: the daemon and its keeper go on, answer, and had no error of their own (see their log)."""
    before, keeper, length = daemon.pid, daemon.keeper_pid, daemon.log_size()
    yield
    assert daemon.request("GET", "/_ping").status == 200
    assert (daemon.pid, daemon.keeper_pid) == (before, keeper)
    records = re.split(r"^(?=\d{4}-\d\d-\d\dT)", daemon.log_text(length), flags=re.MULTILINE)
    errors = [
        record for record in records if " error " in record[:40] or ("Traceback" in record and " debug " not in record)
    ]
    assert errors == []
