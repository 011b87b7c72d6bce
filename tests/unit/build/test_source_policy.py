"""Source policies: which rules fit, in which order, and what they make of a source."""

from __future__ import annotations

import json
from typing import Any

import pytest

from wherry.build.model.graph import SourceOp
from wherry.build.model.source_policy import SourcePolicy
from wherry.errors import Forbidden, InvalidInput, TooLarge

BUSYBOX = "docker-image://docker.io/library/busybox:latest"


def policy(*rules: dict[str, Any]) -> SourcePolicy:
    return SourcePolicy.parse(json.dumps({"version": 1, "rules": rules}))


def rule(action: str, identifier: str, match: str = "WILDCARD", update: Any = None, **more: Any) -> dict[str, Any]:
    selector = {"identifier": identifier, "match_type": match, **more}
    return {"action": action, "selector": selector} | ({"updates": update} if update is not None else {})


def after(given: SourcePolicy, identifier: str = BUSYBOX, **attributes: str) -> str:
    return given.applied(SourceOp(identifier, attributes)).identifier


def is_denied(given: SourcePolicy, identifier: str = BUSYBOX, **attributes: str) -> bool:
    try:
        after(given, identifier, **attributes)
    except Forbidden:
        return True
    return False


@pytest.mark.parametrize(
    ("identifier", "match", "fits"),
    [
        (BUSYBOX, "EXACT", True),
        (BUSYBOX, "WILDCARD", True),
        ("docker-image://*", "WILDCARD", True),
        ("docker-image://docker.io/*/busybox:*", "WILDCARD", True),
        ("docker-image://docker.io/*", "EXACT", False),
        ("docker-image://docker.io/library/busybox", "WILDCARD", False),
        ("docker-image://docker.io.library/*", "WILDCARD", False),
        ("busybox", "REGEX", True),
        ("^docker-image://.*/alpine", "REGEX", False),
        (r"library/\w+:latest$", "REGEX", True),
    ],
)
def test_a_selector_is_a_text_a_wildcard_or_an_expression(identifier: str, match: str, fits: bool) -> None:
    assert is_denied(policy(rule("DENY", identifier, match))) is fits


def test_the_last_rule_that_fits_decides() -> None:
    everything, images = rule("DENY", "*"), rule("ALLOW", "docker-image://*")
    assert not is_denied(policy(everything, images))
    assert is_denied(policy(everything, images), "https://example.com/a")
    assert is_denied(policy(images, everything))
    with pytest.raises(Forbidden, match=f'^source "{BUSYBOX}" denied by policy: source denied by policy$'):
        after(policy(everything))


def test_a_source_is_converted_and_the_rules_begin_again() -> None:
    to_alpine = rule("CONVERT", BUSYBOX, update={"identifier": "docker-image://docker.io/library/alpine:1"})
    mirrored = rule(
        "CONVERT", "docker-image://docker.io/*", update={"identifier": "docker-image://mirror.example/${1}"}
    )
    assert after(policy(to_alpine, mirrored)) == "docker-image://mirror.example/library/alpine:1"
    assert is_denied(policy(mirrored, rule("DENY", "docker-image://mirror.example/*")))
    named = rule(
        "CONVERT", "^(?P<kind>[a-z-]+)://([^/]+)/(.*):latest$", "REGEX", {"identifier": "${kind}://other/$3:$$9$none"}
    )
    assert after(policy(named)) == "docker-image://other/library/busybox:$9"
    circle = [
        rule("CONVERT", one, update={"identifier": other}) for one, other in (("a://b", "a://c"), ("a://c", "a://b"))
    ]
    with pytest.raises(InvalidInput, match="too many mutations"):
        after(policy(*circle), "a://b")


def test_attributes_are_conditions_and_are_set() -> None:
    update = {"attrs": {"http.checksum": "sha256:1"}}
    found = policy(rule("CONVERT", "https://*", update=update)).applied(SourceOp("https://a/b", {"x": "y"}))
    assert found == SourceOp("https://a/b", {"x": "y", "http.checksum": "sha256:1"})
    for condition, value, denied in (
        ("EQUAL", "y", True), ("NOTEQUAL", "y", False), ("NOTEQUAL", "z", True), ("MATCHES", "^[xy]$", True),
        ("MATCHES", "z", False),
    ):  # fmt: skip
        constraint = {"key": "x", "value": value, "condition": condition}
        assert is_denied(policy(rule("DENY", "*", constraints=[constraint])), x="y") is denied


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"rules":[{"action":"DENY"}]}',
        '{"rules":[{"action":"MAYBE","selector":{}}]}',
        '{"rules":[{"action":"CONVERT","selector":{"identifier":"a"}}]}',
        '{"rules":[{"action":"DENY","selector":{"identifier":"a**"}}]}',
        '{"rules":[{"action":"DENY","selector":{"identifier":"(","match_type":"REGEX"}}]}',
    ],
)
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        SourcePolicy.parse(text)


def test_what_a_policy_costs_is_bounded() -> None:
    with pytest.raises(TooLarge):
        policy(*[rule("ALLOW", "a")] * 1001)
    with pytest.raises(TooLarge):
        policy(*[rule("ALLOW", "(a|b)" * 100, "REGEX")] * 20)
    with pytest.raises(InvalidInput, match="longer"):
        after(policy(rule("CONVERT", ".", "REGEX", {"identifier": "$0" * 5000})))
    slow = rule("DENY", "^(a+)+$", "REGEX")
    assert not is_denied(policy(slow), "a" * 5000 + "!")
