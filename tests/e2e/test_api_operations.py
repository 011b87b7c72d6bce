"""Every operation of the API on this machine's kernel: the same steps as over fakes, and those that need it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.api_conformance import STEPS
from support.busybox import import_busybox
from support.daemons import Daemon
from support.needs import need

pytestmark = need("root", "busybox", "overlay", "namespaces")


@pytest.fixture
def alone(busybox_archive: bytes) -> Iterator[Daemon]:
    """A daemon with one image, ``image``."""
    daemon = Daemon()
    try:
        daemon.start()
        import_busybox(daemon, busybox_archive)
        daemon.request("POST", "/images/busybox/tag", repo="image")
        daemon.request("DELETE", "/images/busybox")
        yield daemon
    finally:
        daemon.shut_down()


def test_each_operation_answers_as_it_must(alone: Daemon) -> None:
    wrong = []
    for step in STEPS:
        answer = alone.request(step.method, step.target, step.body, **step.query)
        try:
            step.judge(answer)
        except AssertionError as error:
            wrong.append(str(error))
    assert not wrong, "\n".join(wrong)
