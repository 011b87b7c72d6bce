"""The features document: it has the schema's form, and each name in it is one that a specification may have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT4

from support.needs import need, shared
from wherry.errors import Unsupported
from wherry.linux import seccomp
from wherry.oci.runtime_spec import VERSION
from wherry.runtime.compile import mount_options
from wherry.runtime.features import features


@need("shared")
def test_it_has_the_form_of_the_specifications_schema() -> None:
    folder = shared() / "specs/oci-runtime"
    if not folder.is_dir():
        pytest.skip("the schemas are not there")

    def retrieve(uri: str) -> Resource[Any]:
        return Resource.from_contents(json.loads((folder / Path(uri).name).read_text()), DRAFT4)

    schema = {**json.loads((folder / "features-schema.json").read_text()), "id": "file:///features-schema.json"}
    validator = jsonschema.Draft4Validator(schema, registry=Registry(retrieve=retrieve))
    validator.validate(json.loads(json.dumps(features())))


def test_the_names_are_those_that_are_taken() -> None:
    found = features()
    assert found["ociVersionMax"] == VERSION
    assert found["hooks"][:2] == ["prestart", "createRuntime"]
    for option in found["mountOptions"]:
        assert mount_options.parse((option,)).data == (), option
    assert {"rro", "ridmap", "tmpcopyup", "rnosymfollow"} <= set(found["mountOptions"])
    assert "own" not in found["mountOptions"]
    assert found["linux"]["namespaces"] == ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"]


@pytest.mark.skipif(not seccomp.is_available(), reason="libseccomp is not installed")
def test_each_action_and_architecture_can_be_compiled() -> None:
    found = features()["linux"]["seccomp"]
    assert set(found["supportedFlags"]) <= set(found["knownFlags"])
    for action in found["actions"]:
        rule = {"names": ["mkdir"], "action": action}
        assert seccomp.compile_profile({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]})
    for name in found["archs"]:
        assert seccomp.compile_profile({"defaultAction": "SCMP_ACT_ALLOW", "architectures": [name]})


def test_without_libseccomp_seccomp_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise Unsupported("libseccomp.so.2 cannot be loaded")

    monkeypatch.setattr(seccomp, "_library", missing)
    found = features()
    assert found["linux"]["seccomp"] == {"enabled": False}
    assert list(found["annotations"]) == ["org.wherry.version"]
