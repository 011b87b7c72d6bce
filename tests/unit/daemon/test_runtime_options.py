"""Other OCI runtimes, on the command line and in the file, as dockerd has them."""

from __future__ import annotations

from typing import Any

import pytest

from wherry.daemon.runtime_options import default_runtime, runtimes
from wherry.engine.create.create import runtime_name
from wherry.engine.settings import OciRuntime, Settings
from wherry.errors import InvalidInput


def test_flags_and_file_add_runtimes() -> None:
    values = {
        "add_runtime": ["kata=/opt/kata/bin/kata-runtime"],
        "runtimes": {"gvisor": {"path": "/opt/runsc", "runtimeArgs": ["--platform=ptrace"]}},
    }
    assert runtimes(values) == {
        "kata": OciRuntime("/opt/kata/bin/kata-runtime"),
        "gvisor": OciRuntime("/opt/runsc", ("--platform=ptrace",)),
    }
    assert runtimes({"add_runtime": ["sh=sh"]})["sh"].path.endswith("/sh"), "found where programs are"


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"add_runtime": ["kata"]}, "must be NAME=PATH"),
        ({"add_runtime": ["kata="]}, "has no path"),
        ({"add_runtime": ["runc=/usr/bin/runc"]}, "runtime name 'runc' is reserved"),
        ({"add_runtime": ["wherry=/x"]}, "is reserved"),
        ({"add_runtime": ["../x=/x"]}, "is no name"),
        ({"add_runtime": ["a=/x", "a=/y"]}, "was already registered"),
        ({"add_runtime": ["a=/x"], "runtimes": {"a": {"path": "/y"}}}, "was already registered"),
        ({"runtimes": {"a": {"runtimeType": "io.containerd.kata.v2"}}}, "none of containerd's shims"),
        ({"runtimes": {"a": "x"}}, 'needs a "path"'),
        ({"runtimes": {"a": {"path": "/x", "runtimeArgs": [1]}}}, "that are texts"),
    ],
)
def test_impossible_runtimes_are_refused(values: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidInput, match=text):
        runtimes(values)


def test_the_default_runtime_must_be_one() -> None:
    known = runtimes({"add_runtime": ["kata=/x"]})
    assert default_runtime({}, known) == default_runtime({"default_runtime": "runc"}, known) == "wherry"
    assert default_runtime({"default_runtime": "kata"}, known) == "kata"
    with pytest.raises(InvalidInput, match="specified default runtime 'x' does not exist"):
        default_runtime({"default_runtime": "x"}, known)


def test_a_container_gets_what_it_asks_for_or_the_default() -> None:
    settings = Settings(runtimes={"kata": OciRuntime("/x")}, default_runtime="kata")
    assert [runtime_name(name, settings) for name in ("", "kata", "runc", "wherry", "io.containerd.runc.v2")] == [
        "kata", "kata", "wherry", "wherry", "wherry",
    ]  # fmt: skip
    with pytest.raises(InvalidInput, match="unknown or invalid runtime name: runsc"):
        runtime_name("runsc", settings)
