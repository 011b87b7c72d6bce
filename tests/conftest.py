"""What all tests share: needs, and what a failure tells about the machine."""

from __future__ import annotations

import gc
import os
import platform

import pytest

import quiet
from support import needs


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "need(*names): what the test needs of the machine; see tests/support/needs.py")


def pytest_collection_finish() -> None:
    """What all tests share is for ever, and no search for garbage has to look at it again."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("need"):
        for name in mark.args:
            needs.check(name)
    quiet.begin()


def pytest_report_header() -> str:
    cgroup = "v2" if needs.NEEDS["cgroup2"][1]() else "v1"
    must_work = os.environ.get("WHERRY_MUST_WORK") == "1"
    return f"kernel {platform.release()}, uid {os.geteuid()}, cgroup {cgroup}, must work: {must_work}"
