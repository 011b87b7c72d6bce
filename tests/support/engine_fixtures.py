"""Fixtures of all tests that need an engine: a daemon, a small image, and what is checked when they end.

A plugin, which the folders of such tests ask for in their ``conftest.py``: fixtures that each folder imports would be
each folder's own, and a run of several has one daemon.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from machine import static_busybox
from support import needs
from support.busybox import busybox_daemon, import_busybox, root_file_system
from support.daemons import Daemon, DockerDaemon, LastingDaemon, in_memory
from support.network_objects import unreachable_pools


@pytest.fixture(scope="session")
def protected() -> Iterator[None]:
    """No packet of a test leaves the machine by mistake; and the disk is not worn by daemons that come and go."""
    if os.geteuid() != 0:
        yield
        return
    with unreachable_pools(), in_memory():
        yield


@pytest.fixture(scope="session")
def daemon() -> Iterator[Daemon]:
    """A wherryd that all tests of the session share; it begins as one does for users."""
    needs.check("root")
    daemon = LastingDaemon("--debug")
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.shut_down()


@pytest.fixture
def own_daemon() -> Iterator[Daemon]:
    """A wherryd that a test may kill."""
    needs.check("root")
    daemon = Daemon("--debug")
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.shut_down()


@pytest.fixture(scope="session")
def _mortal(busybox_archive: bytes) -> Iterator[Daemon]:
    with busybox_daemon(busybox_archive) as daemon:
        yield daemon


@pytest.fixture
def mortal(_mortal: Daemon) -> Iterator[Daemon]:
    """A wherryd with the small image that a test may kill; the next test finds it alive, and without containers."""
    yield _mortal
    _mortal.revive()


@pytest.fixture(scope="session")
def dockerd() -> Iterator[DockerDaemon]:
    """Docker's own daemon, where there is one."""
    needs.check("root")
    needs.check("dockerd")
    daemon = DockerDaemon()
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.shut_down()


@pytest.fixture(scope="session")
def busybox_archive() -> bytes:
    """A root file system with busybox under all its names."""
    needs.check("busybox")
    program = static_busybox()
    assert program
    return root_file_system(program)


@pytest.fixture(scope="session")
def busybox(daemon: Daemon, busybox_archive: bytes) -> str:
    """The name of an image with busybox."""
    return import_busybox(daemon, busybox_archive)


@pytest.fixture
def clean(daemon: Daemon) -> Iterator[None]:
    """Remove all containers before and after a test."""
    daemon.remove_containers()
    yield
    daemon.remove_containers()
