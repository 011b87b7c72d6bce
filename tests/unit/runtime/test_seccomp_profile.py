"""Docker's seccomp profiles, conditions and all."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support import needs
from support.needs import need
from wherry.errors import InvalidInput
from wherry.runtime.compile.seccomp import custom_profile, default_profile, docker_profile


def allowed(profile: dict[str, Any]) -> set[str]:
    """The calls that a profile allows whatever their arguments."""
    return {
        name
        for rule in profile["syscalls"]
        if rule["action"] == "SCMP_ACT_ALLOW" and not rule.get("args")
        for name in rule["names"]
    }


@need("shared")
def test_the_default_set_is_dockers() -> None:
    published = json.loads((needs.shared() / "specs/docker-default-seccomp.json").read_text())
    ours = docker_profile()
    assert (ours["defaultAction"], ours["defaultErrnoRet"]) == (
        published["defaultAction"],
        published["defaultErrnoRet"],
    )
    assert ours["archMap"] == [
        {**entry, "subArchitectures": entry["subArchitectures"] or []} for entry in published["archMap"]
    ]

    def plain(rule: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in rule.items() if value not in (None, {}, []) and key != "comment"}

    assert [plain(rule) for rule in ours["syscalls"]] == [plain(rule) for rule in published["syscalls"]]


def test_capabilities_unlock_calls() -> None:
    plain = default_profile((), architecture="x86_64", kernel=(6, 1))
    admin = default_profile(("CAP_SYS_ADMIN",), architecture="x86_64", kernel=(6, 1))
    assert {"mount", "setns", "unshare"} & allowed(plain) == set()
    assert {"mount", "setns", "unshare", "clone", "clone3"} <= allowed(admin)
    (refused,) = [rule for rule in plain["syscalls"] if rule["names"] == ["clone3"]]
    assert (refused["action"], refused["errnoRet"]) == ("SCMP_ACT_ERRNO", 38)


def test_architecture_and_kernel_decide() -> None:
    intel = default_profile((), architecture="x86_64", kernel=(6, 1))
    arm = default_profile((), architecture="aarch64", kernel=(6, 1))
    assert intel["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    assert arm["architectures"] == ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]
    assert "arch_prctl" in allowed(intel) - allowed(arm)
    assert "ptrace" in allowed(intel)
    assert "ptrace" not in allowed(default_profile((), architecture="x86_64", kernel=(4, 7)))


def test_a_profile_of_ones_own() -> None:
    text = json.dumps(
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [
                {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5},
                {"name": "chmod", "action": "SCMP_ACT_ERRNO", "comment": "the old form"},
                {"names": ["bpf"], "action": "SCMP_ACT_KILL", "excludes": {"minKernel": "5.0"}},
            ],
        }
    )
    assert custom_profile(text, (), architecture="x86_64", kernel=(6, 1)) == {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [
            {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5},
            {"names": ["chmod"], "action": "SCMP_ACT_ERRNO"},
        ],
    }


@pytest.mark.parametrize(
    ("profile", "text"),
    [
        ("{", "decoding seccomp profile failed"),
        ("[]", "JSON object"),
        ({}, "no defaultAction"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "calls": []}, "unknown field 'calls'"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": "x"}, "must be a list"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [5]}, "must be an object"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"action": "SCMP_ACT_ALLOW"}]}, "list of names"),
        (
            {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["x"], "includes": {"caps": ["CAP_FLY"]}}]},
            "unknown capability 'CAP_FLY'",
        ),
        (
            {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["x"], "includes": {"minKernel": "new"}}]},
            "minKernel must look like",
        ),
        ({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["A"], "archMap": [{}]}, "not both"),
    ],
)
def test_what_is_no_profile_is_refused(profile: Any, text: str) -> None:
    with pytest.raises(InvalidInput, match=text):
        custom_profile(profile, ())


def test_an_unknown_machine_has_no_profile() -> None:
    with pytest.raises(InvalidInput, match="'vax'"):
        default_profile((), architecture="vax")
