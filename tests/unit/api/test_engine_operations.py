"""Every operation of Docker's API, one by one: answered, or refused as by a dockerd without swarm and managed plugins.

The list is the operations of the Engine API's description, without its descriptions; a test compares the two where that
is at hand. What the answers are is the business of the other tests here.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.api_conformance import STEPS
from support.api_harness import ApiHarness
from support.needs import need
from support.swagger import document

LIST = Path(__file__).parents[2] / "data/engine_operations.txt"

#: What this version does not answer yet; who adds one takes it from here.
NOT_YET: set[tuple[str, str]] = set()

SWARM = ("/configs", "/nodes", "/secrets", "/services", "/swarm", "/tasks")
NO_SWARM, NO_PLUGINS = "This node is not a swarm manager. Use", "plugins are not supported on this platform"
REFUSED = {
    ("POST", "/swarm/init"): (501, "swarms are not supported by wherry"),
    ("POST", "/swarm/join"): (501, "swarms are not supported by wherry"),
    ("POST", "/swarm/leave"): (503, "This node is not part of a swarm"),
    ("POST", "/plugins/create"): (501, NO_PLUGINS),
    ("POST", "/plugins/pull"): (501, NO_PLUGINS),
    ("GET", "/plugins/privileges"): (501, NO_PLUGINS),
    ("GET", "/images/{name}/attestations"): (501, "the image store does not support attestations"),
}

#: Where a request without anything would wait for ever, or ask another machine.
ASKED: dict[tuple[str, str], tuple[str, object, dict[str, object]]] = {
    ("GET", "/events"): ("/events", None, {"since": 0, "until": 1}),
    ("POST", "/auth"): ("/auth", {"serveraddress": "not a name!"}, {}),
    ("GET", "/distribution/{name}/json"): ("/distribution/NOPE/json", None, {}),
    ("GET", "/images/search"): ("/images/search", None, {"term": ""}),
}


def operations() -> set[tuple[str, str]]:
    """Method and path of each."""
    lines = [line.split() for line in LIST.read_text().splitlines()]
    return {(method, path) for path, *methods in lines for method in methods}


def expected(method: str, path: str) -> tuple[int, str] | None:
    """The status and words with which an operation is refused for a request about ``nope``; None: it is answered."""
    if (method, path) in REFUSED:
        return REFUSED[method, path]
    if path.startswith(SWARM):
        return 503, NO_SWARM
    return (404, 'plugin "nope" not found') if path.startswith("/plugins/") else None


async def test_every_operation_is_answered_or_refused_in_dockers_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong, missing = [], set()
    async with ApiHarness(tmp_path).serving(monkeypatch) as api:
        for method, path in sorted(operations()):
            plain = re.sub(r"\{\w+\}", "nope", path), {} if method in ("POST", "PUT") else None, {}
            target, body, query = ASKED.get((method, path), plain)
            answer = await api.ask(method, target, body, **query)
            text = answer.body.decode(errors="replace")
            refusal = expected(method, path)
            if refusal is not None:
                if answer.status != refusal[0] or refusal[1] not in answer.message:
                    wrong.append(f"{method} {path}: {answer.status} {text[:200]}")
            elif answer.status in (405, 501) or (answer.status == 404 and "page not found" in text):
                missing.add((method, path))
            elif answer.status == 500:
                wrong.append(f"{method} {path}: {text[:200]}")
    assert not wrong, "\n".join(wrong)
    assert missing == NOT_YET


def test_every_operation_that_is_answered_is_asked_for_by_a_test_of_its_own() -> None:
    asked = {(step.method, re.sub(r"\{\w+(:path)?\}", "{}", step.pattern)) for step in STEPS}
    answered = {pair for pair in operations() - NOT_YET if expected(*pair) is None}
    # A connection that is upgraded, and an answer without a body: asked by the clients of BuildKit and of `docker cp`.
    by_others = {("POST", "/session"), ("HEAD", "/containers/{id}/archive")}
    assert {pair for pair in answered if (pair[0], re.sub(r"\{\w+\}", "{}", pair[1])) not in asked} <= by_others


@need("shared")
def test_the_list_is_the_descriptions() -> None:
    methods = ("get", "post", "put", "delete", "head")
    paths = document()["paths"].items()
    assert operations() == {(method.upper(), path) for path, known in paths for method in known if method in methods}
