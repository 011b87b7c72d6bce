"""The host's devices that a container asks for."""

from __future__ import annotations

from pathlib import Path

import pytest

from wherry.docker.container_requests import Device, HostConfig
from wherry.engine.spec import devices
from wherry.errors import InvalidInput
from wherry.oci.runtime_spec import DeviceCgroup


def refusal_of(path: str) -> str:
    """How a device is refused."""
    with pytest.raises(InvalidInput) as refusal:
        devices.gather(HostConfig(devices=[Device(path)]))
    return str(refusal.value)


def test_a_directory_with_more_files_than_anybody_has_devices_is_not_walked_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "_MOST_FILES", 10)
    for number in range(11):
        (tmp_path / str(number)).touch()
    assert "more than 10 files" in refusal_of(str(tmp_path))


def test_a_path_that_is_none_is_refused() -> None:
    assert "null" in refusal_of("/dev/\0")  # the rest is the Python version's
    assert "no such file" in refusal_of("/dev/nobody-has-this")
    assert "file name too long" in refusal_of("/dev/" + "a" * 5000)


def test_a_node_is_found_by_its_path_and_below_a_directory() -> None:
    found = devices.gather(HostConfig(devices=[Device("/dev/null", "/dev/x")]))
    assert [(node.path, node.major, node.minor) for node in found.nodes] == [("/dev/x", 1, 3)]
    assert found.rules == (DeviceCgroup(allow=True, access="rwm", type="c", major=1, minor=3),)
