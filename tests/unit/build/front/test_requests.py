"""Subrequests: outline, targets, lint, describe."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from support.fake_gateway import FakeGateway, solved
from wherry.errors import Unsupported

DOCKERFILE = """\
# VERSION of the tool
ARG VERSION=1
ARG TAG=latest
ARG BASE=busybox:$TAG
# build makes it
FROM busybox AS build
# MODE says how
ARG MODE=fast
RUN --mount=type=secret,id=token,required --mount=type=ssh x
FROM ${BASE} AS other
ARG VERSION
FROM build
"""


async def asked(request: str, text: str = DOCKERFILE, **options: str) -> tuple[Any, str]:
    """The JSON and the text of an answer."""
    result = await solved(text, {"requestid": request, **options})
    assert result.refs == {}
    assert result.metadata["version"] == b"1.0.0"
    return json.loads(result.metadata["result.json"]), result.metadata["result.txt"].decode()


async def test_targets_are_the_stages() -> None:
    document, text = await asked("frontend.targets")
    assert [(one.get("name"), one.get("base"), one.get("default")) for one in document["targets"]] == [
        ("build", "busybox", None),
        ("other", "${BASE}", None),
        (None, "build", True),
    ]
    assert document["targets"][0]["description"] == "makes it"
    assert document["targets"][0]["location"] == {
        "ranges": [{"start": {"line": 6}, "end": {"line": 6, "character": 21}}]
    }
    assert base64.b64decode(document["sources"][0]).decode() == DOCKERFILE
    assert text == "TARGET    DESCRIPTION\nbuild     makes it\nother     \n(default) \n"


async def test_the_outline_has_what_a_target_takes() -> None:
    document, text = await asked("frontend.outline")
    assert [(one["name"], one.get("value")) for one in document["args"]] == [("MODE", "fast")]
    assert [(one["name"], one.get("required")) for one in document["secrets"]] == [("token", True)]
    assert [(one["name"], one.get("required")) for one in document["ssh"]] == [("default", None)]
    assert text == (
        "BUILD ARG   VALUE   DESCRIPTION\nMODE        fast    says how\n\n"
        "SECRET   REQUIRED\ntoken    true\n\n"
        "SSH       REQUIRED\ndefault   \n\n"
    )


async def test_the_outline_of_a_target_has_arguments_that_its_base_is_made_of() -> None:
    document, text = await asked("frontend.outline", target="other")
    assert [one["name"] for one in document["args"]] == ["VERSION", "TAG", "BASE"]
    assert text.startswith("TARGET: other\n\nBUILD ARG   VALUE")


async def test_describe_says_what_can_be_asked() -> None:
    document, text = await asked("frontend.subrequests.describe", "")
    assert [one["name"] for one in document] == [
        "frontend.outline",
        "frontend.targets",
        "frontend.subrequests.describe",
    ]
    assert text.splitlines()[0] == "NAME                 VERSION DESCRIPTION"


async def test_anything_else_is_refused() -> None:
    with pytest.raises(Unsupported, match="unsupported request"):
        await asked("frontend.dance")


async def test_lint_says_what_is_wrong_and_does_not_fail() -> None:
    result = await solved("FROM busybox\nDANCE x", {"requestid": "frontend.lint"})
    document = json.loads(result.metadata["result.json"])
    assert result.metadata["result.statuscode"] == b"1"
    assert document["buildError"]["message"].startswith("dockerfile parse error on line 2: unknown instruction: DANCE")
    assert document["sources"][0]["filename"] == "Dockerfile"


async def test_lint_looks_at_every_stage_unless_a_target_is_named() -> None:
    gateway = FakeGateway("FROM busybox AS a\nEXPOSE x\nFROM scratch AS b")
    result = await solved("", {"requestid": "frontend.lint"}, gateway=gateway)
    assert "invalid containerPort: x" in json.loads(result.metadata["result.json"])["buildError"]["message"]
    named = await solved("", {"requestid": "frontend.lint", "target": "b"}, gateway=gateway)
    assert named.metadata["result.statuscode"] == b"0"
