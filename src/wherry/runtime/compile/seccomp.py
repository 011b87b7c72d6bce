"""Seccomp profiles: translate Docker's format to the specification's.

Which profile a container gets is decided elsewhere, in `wherry.engine.spec.security`.

Docker's form adds conditions to the specification's: a rule may count only with some capability, on some
architectures, from some kernel version on (``includes``), or not then (``excludes``); and architectures are listed
with their variants (``archMap``).

The default set is data: ``default_seccomp.json`` beside this module. It is what programs in containers expect to have.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from importlib import resources
from typing import Any, Final

from wherry.errors import InvalidInput
from wherry.linux import capabilities

__all__ = ["custom_profile", "default_profile", "docker_profile"]

#: uname(2)'s machine to Go's name, which Docker's conditions use, and to libseccomp's.
_ARCHITECTURES: Final = {
    "x86_64": ("amd64", "SCMP_ARCH_X86_64"),
    "aarch64": ("arm64", "SCMP_ARCH_AARCH64"),
    "riscv64": ("riscv64", "SCMP_ARCH_RISCV64"),
    "ppc64le": ("ppc64le", "SCMP_ARCH_PPC64LE"),
    "s390x": ("s390x", "SCMP_ARCH_S390X"),
    "loongarch64": ("loong64", "SCMP_ARCH_LOONGARCH64"),
}
_CONDITIONS: Final = frozenset({"caps", "arches", "minKernel"})
_RULE_KEYS: Final = frozenset({"name", "names", "action", "errnoRet", "args", "comment", "includes", "excludes"})
_PROFILE_KEYS: Final = frozenset(
    {
        "defaultAction",
        "defaultErrnoRet",
        "architectures",
        "archMap",
        "flags",
        "listenerPath",
        "listenerMetadata",
        "syscalls",
    }
)


def default_profile(
    allowed: Collection[str], *, architecture: str | None = None, kernel: tuple[int, int] | None = None
) -> dict[str, Any]:
    """Return Docker's default profile for a container with some capabilities, as ``linux.seccomp``.

    :param allowed: the capabilities in the bounding set, ``"CAP_SYS_ADMIN"``: some unlock system calls.
    :param architecture: as uname(2) calls it; this machine's if not given.
    :param kernel: version, such as ``(6, 1)``; this machine's if not given.
    """
    return _default(frozenset(allowed), architecture or os.uname().machine, kernel or _kernel())


@lru_cache(maxsize=32)
def _default(allowed: frozenset[str], architecture: str, kernel: tuple[int, int]) -> dict[str, Any]:
    return custom_profile(docker_profile(), allowed, architecture=architecture, kernel=kernel)


def custom_profile(
    profile: Mapping[str, Any] | str | bytes,
    allowed: Collection[str],
    *,
    architecture: str | None = None,
    kernel: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """Bring a profile in Docker's form into that of ``linux.seccomp``; the parameters as for :func:`default_profile`.

    :param profile: as JSON, or decoded.
    :raises InvalidInput: it is no such profile; the message names the offending part.
    """
    found = _decoded(profile)
    machine = architecture or os.uname().machine
    if machine not in _ARCHITECTURES:
        raise InvalidInput(f"seccomp profiles are not known for the architecture {machine!r}")
    _check_keys(found, _PROFILE_KEYS, "the seccomp profile")
    if not isinstance(found.get("defaultAction"), str):
        raise InvalidInput("the seccomp profile has no defaultAction")
    if found.get("architectures") and found.get("archMap"):
        raise InvalidInput("the seccomp profile must have architectures or archMap, not both")
    facts = (frozenset(allowed), _ARCHITECTURES[machine][0], kernel or _kernel())
    kept = ("defaultAction", "defaultErrnoRet", "flags", "listenerPath", "listenerMetadata")
    result = {key: found[key] for key in kept if found.get(key)}
    result["architectures"] = _architectures(found, _ARCHITECTURES[machine][1])
    rules = found.get("syscalls") or []
    if not isinstance(rules, list):
        raise InvalidInput(f"the seccomp profile's syscalls must be a list, not {rules!r}")
    result["syscalls"] = [_rule(rule) for rule in rules if _counts(rule, *facts)]
    return result


def _decoded(profile: Mapping[str, Any] | str | bytes) -> Mapping[str, Any]:
    if isinstance(profile, str | bytes):
        try:
            profile = json.loads(profile)
        except ValueError as error:
            raise InvalidInput("decoding seccomp profile failed", cause=str(error)) from error
    if not isinstance(profile, Mapping):
        raise InvalidInput("a seccomp profile must be a JSON object")
    return profile


def _check_keys(found: Mapping[str, Any], known: frozenset[str], what: str) -> None:
    unknown = sorted(set(found) - known)
    if unknown:
        raise InvalidInput(f"{what} has the unknown field {unknown[0]!r}")


def _architectures(profile: Mapping[str, Any], native: str) -> list[str]:
    if profile.get("architectures"):
        return list(profile["architectures"])
    for entry in profile.get("archMap") or ():
        if entry.get("architecture") == native:
            return [native, *(entry.get("subArchitectures") or ())]
    return []


def _rule(rule: Mapping[str, Any]) -> dict[str, Any]:
    names = rule.get("names") or ([rule["name"]] if rule.get("name") else None)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InvalidInput(f"a rule of the seccomp profile needs a list of names, not {names!r}")
    result: dict[str, Any] = {"names": names, "action": rule.get("action")}
    if rule.get("errnoRet") is not None:
        result["errnoRet"] = rule["errnoRet"]
    if rule.get("args"):
        result["args"] = [dict(argument) for argument in rule["args"]]
    return result


def _counts(rule: Any, allowed: frozenset[str], architecture: str, kernel: tuple[int, int]) -> bool:
    """Whether a rule counts here: all that it includes holds, and nothing that it excludes."""
    if not isinstance(rule, Mapping):
        raise InvalidInput(f"a rule of the seccomp profile must be an object, not {rule!r}")
    _check_keys(rule, _RULE_KEYS, "a rule of the seccomp profile")
    includes, excludes = (rule.get(key) or {} for key in ("includes", "excludes"))
    for condition in (includes, excludes):
        _check_keys(condition, _CONDITIONS, "a condition of the seccomp profile")
        for name in condition.get("caps") or ():
            capabilities.parse(name)
    if excludes.get("arches") and architecture in excludes["arches"]:
        return False
    if any(name in allowed for name in excludes.get("caps") or ()):
        return False
    if excludes.get("minKernel") and kernel >= _version(excludes["minKernel"]):
        return False
    if includes.get("arches") and architecture not in includes["arches"]:
        return False
    if not all(name in allowed for name in includes.get("caps") or ()):
        return False
    return not includes.get("minKernel") or kernel >= _version(includes["minKernel"])


def _version(text: object) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)\.(\d+)", text) if isinstance(text, str) else None
    if match is None:
        raise InvalidInput(f"minKernel must look like '4.8', not {text!r}")
    return int(match[1]), int(match[2])


def _kernel() -> tuple[int, int]:
    match = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return (int(match[1]), int(match[2])) if match else (0, 0)


@lru_cache(maxsize=1)
def docker_profile() -> dict[str, Any]:
    """Return the default set in Docker's form."""
    text = resources.files("wherry.runtime.compile").joinpath("default_seccomp.json").read_text("utf-8")
    data = json.loads(text)
    return {
        "defaultAction": data["defaultAction"],
        "defaultErrnoRet": data["defaultErrnoRet"],
        "archMap": [
            {"architecture": name, "subArchitectures": variants.split()}
            for name, variants in data["architectures"].items()
        ],
        "syscalls": [_unfolded(rule) for rule in data["rules"]],
    }


def _unfolded(rule: dict[str, Any]) -> dict[str, Any]:
    """Return a rule of the compact form in Docker's form."""
    result: dict[str, Any] = {"names": rule["calls"].split(), "action": rule.get("action", "SCMP_ACT_ALLOW")}
    if "errnoRet" in rule:
        result["errnoRet"] = rule["errnoRet"]
    if "args" in rule:
        keys = ("index", "op", "value", "valueTwo")
        result["args"] = [dict(zip(keys, argument, strict=False)) for argument in rule["args"]]
    for ours, theirs in (("if", "includes"), ("unless", "excludes")):
        if ours in rule:
            result[theirs] = rule[ours]
    return result
