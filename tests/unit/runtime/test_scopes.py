"""systemd's names of containers, and limits as properties of units."""

from __future__ import annotations

from typing import Any

import pytest

from wherry.errors import InvalidInput
from wherry.runtime.cgroups.resources import Resources
from wherry.runtime.cgroups.scope import expand_slice, scope_of
from wherry.runtime.cgroups.scope_properties import ANNOTATION, annotated, limiting


@pytest.mark.parametrize(
    ("text", "unit", "path"),
    [
        ("", "wherry-c1.scope", "/system.slice/wherry-c1.scope"),
        ("system.slice:docker:c1", "docker-c1.scope", "/system.slice/docker-c1.scope"),
        ("a-b-c.slice:crio:c1", "crio-c1.scope", "/a.slice/a-b.slice/a-b-c.slice/crio-c1.scope"),
        ("-.slice::c1", "c1.scope", "/c1.scope"),
        (":p:c1", "p-c1.scope", "/system.slice/p-c1.scope"),
        ("system.slice:p:a-b.slice", "a-b.slice", "/a.slice/a-b.slice"),
    ],
)
def test_a_cgroups_path_names_a_scope_in_a_slice(text: str, unit: str, path: str) -> None:
    found = scope_of(text, "c1")
    assert (found.unit, found.path) == (unit, path)


def test_the_users_manager_has_its_own_root_and_slice() -> None:
    found = scope_of("", "c1", user=True, root="/user.slice/user-5.slice/user@5.service")
    assert found.path == "/user.slice/user-5.slice/user@5.service/user.slice/wherry-c1.scope"


@pytest.mark.parametrize("text", ["/docker/c1", "a:b", "a:b:c:d", "x.slice:y", "plain"])
def test_another_form_is_refused_in_words_that_callers_know(text: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        scope_of(text, "c1")
    wanted = 'expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups'
    assert str(raised.value) == f'{wanted}, got "{text}" instead'


@pytest.mark.parametrize(
    "text",
    [
        "../x.slice:p:c",
        "x:p:c",
        "a--b.slice:p:c",
        "-a.slice:p:c",
        "a-.slice:p:c",
        ".slice:p:c",
        "system.slice:p:",
        "system.slice:a/b:c",
        "system.slice:p:c\n",
        "system.slice:p:" + "x" * 255,
        "a b.slice:p:c",
    ],
)
def test_what_is_no_name_of_a_unit_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        scope_of(text, "c1")


def test_a_slice_is_a_directory_for_each_dash() -> None:
    assert expand_slice("-.slice") == "/"
    assert expand_slice("a-b.slice") == "/a.slice/a-b.slice"


RESOURCES: dict[str, Any] = {
    "memory": {"limit": 1000, "reservation": 500, "swap": 1500},
    "cpu": {"shares": 1024, "quota": 25000, "period": 70000, "cpus": "0-1,9", "mems": "0"},
    "pids": {"limit": 7},
    "blockIO": {"weight": 10},
}


def properties(resources: dict[str, Any], version: int) -> dict[str, Any]:
    return {name: value for name, _, value in limiting(Resources.from_oci(resources), version)}


def test_limits_become_properties() -> None:
    processors = {"CPUQuotaPeriodUSec": 70000, "CPUQuotaPerSecUSec": 360_000}
    assert properties(RESOURCES, 2) == {
        "MemoryMax": 1000, "MemoryLow": 500, "MemorySwapMax": 500, "CPUWeight": 100, **processors,
        "AllowedCPUs": b"\x03\x02", "AllowedMemoryNodes": b"\x01", "TasksMax": 7, "IOWeight": 1,
    }  # fmt: skip
    assert properties(RESOURCES, 1) == {
        "MemoryLimit": 1000, "CPUShares": 1024, **processors, "TasksMax": 7, "BlockIOWeight": 10,
    }  # fmt: skip


def test_no_limit_is_systemds_infinity() -> None:
    lifted = properties({"memory": {"limit": -1}, "cpu": {"quota": -1}, "pids": {"limit": -1}}, 2)
    assert set(lifted.values()) == {2**64 - 1}


def test_what_devices_are_allowed_is_told_as_far_as_systemd_can_know_it() -> None:
    deny: dict[str, Any] = {"allow": False}
    rules = [
        deny,
        {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rw"},
        {"allow": True, "type": "c", "access": "m"},
        {"allow": True, "type": "c", "major": 136},
        {"allow": True, "type": "c", "major": 511, "access": "r"},
    ]
    found = properties({"devices": rules}, 2)
    assert found["DevicePolicy"] == "strict"
    assert found["DeviceAllow"][:3] == [("/dev/char/1:3", "rw"), ("char-*", "m"), ("char-pts", "rwm")]
    assert properties({"devices": [{"allow": True}]}, 2) == {"DevicePolicy": "auto", "DeviceAllow": []}


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("CollectMode", "'inactive-or-failed'", ("CollectMode", "s", "inactive-or-failed")),
        ("TimeoutStopUSec", "uint64 5000000", ("TimeoutStopUSec", "t", 5000000)),
        ("TimeoutStopSec", "5.5", ("TimeoutStopUSec", "t", 5500000)),
        ("After", "['crio.service', \"x\"]", ("After", "as", ["crio.service", "x"])),
        ("SendSIGHUP", "true", ("SendSIGHUP", "b", True)),
        ("LimitNOFILE", "12", ("LimitNOFILE", "i", 12)),
    ],
)
def test_annotations_set_further_properties(name: str, text: str, expected: tuple[str, str, object]) -> None:
    assert annotated({ANNOTATION + name: text, "other": "x"}) == (expected,)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x", "1"),
        ("A b", "1"),
        ("Abc", "__import__('os')"),
        ("Abc", "uint64 x"),
        ("Abc", "[1]"),
        ("Abc", "(" * 999),
        ("Abc", "'" + "x" * 5000 + "'"),
        ("Abc", ""),
        ("Abc", "{}"),
    ],
)
def test_annotations_that_make_no_sense_are_refused(name: str, text: str) -> None:
    with pytest.raises(InvalidInput, match="annotation"):
        annotated({ANNOTATION + name: text})
