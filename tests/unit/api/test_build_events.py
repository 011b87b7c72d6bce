"""What happens in a build, as JSON for wherry's own client."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from multidict import MultiDict

from wherry.api.buildkit.status import batches
from wherry.api.classic.build_secrets import parse as parse_secrets
from wherry.api.classic.events import BuildEvents, detail_of
from wherry.api.classic.query import BuildQuery, parse
from wherry.api.classic.text import ClassicText
from wherry.build.model.errors import DockerfileError, VertexFailed
from wherry.build.model.graph import SourceRange
from wherry.build.model.progress import (
    Cost,
    LogProgress,
    Progress,
    ShellProgress,
    TransferProgress,
    VertexProgress,
    WarningProgress,
)
from wherry.errors import InvalidInput
from wherry.oci.digest import Digest

RUN, BASE = Digest.from_bytes(b"run"), Digest.from_bytes(b"base")
WHERE = (SourceRange(2, 0, 2, 3),)


def aux(event: Any) -> dict[str, Any]:
    message = json.loads(json.dumps(BuildEvents().take(event)))
    assert message["id"] == "wherry.build"
    found: dict[str, Any] = message["aux"]
    return found


def test_steps_and_transfers_have_all_their_members() -> None:
    step = aux(VertexProgress(digest=RUN, name="n", inputs=(BASE,), started=1, explanation="why", cost=Cost(1, 2)))
    assert (step["type"], step["digest"], step["inputs"]) == ("vertex", str(RUN), [str(BASE)])
    assert (step["explanation"], step["cost"]) == ("why", {"cpu": 1, "memory": 2, "written": None})
    moved = aux(TransferProgress(id="t", vertex=RUN, current=1, total=2))
    assert (moved["type"], moved["vertex"], moved["current"], moved["total"]) == ("transfer", str(RUN), 1, 2)


def test_a_shell_that_waits_has_a_token_for_the_builds_own_client_alone() -> None:
    event = ShellProgress(RUN, "exit code: 1", 1)
    shown = BuildEvents({RUN: "secret"}).take(event)["aux"]
    assert shown == {"type": "shell", "vertex": str(RUN), "error": "exit code: 1", "token": "secret"}
    assert aux(event)["token"] == ""
    assert list(ClassicText().take(event)) == []


async def test_buildkits_clients_hear_of_no_shell() -> None:
    async def events() -> AsyncIterator[Progress]:
        yield ShellProgress(RUN, "exit code: 1", 1)
        yield LogProgress(vertex=RUN, stream=1, data=b"x", at=2)

    found = [batch async for batch in batches(events())]
    assert [(len(one.vertices), len(one.statuses), len(one.warnings)) for one in found] == [(0, 0, 0)]
    assert [log.msg for one in found for log in one.logs] == [b"x"]


@pytest.mark.slow
async def test_output_is_read_ahead_only_as_far_as_memory_is_meant_for_it() -> None:
    """A client that reads slowly: what is on the disk stays there."""
    given = 0

    async def events() -> AsyncIterator[Progress]:
        nonlocal given
        for number in range(1000):
            given += 1
            yield LogProgress(vertex=RUN, stream=1, data=bytes([number % 256]) * (64 << 10), at=number)

    async with aclosing(batches(events())) as messages:
        first = await anext(messages)
        for _ in range(100):
            await asyncio.sleep(0)
        assert given * (64 << 10) <= 6 << 20
        rest = [log async for message in messages for log in message.logs]
    seen = [*first.logs, *rest]
    assert [log.msg[0] for log in seen] == [number % 256 for number in range(1000)]


def test_characters_may_come_in_pieces() -> None:
    events = BuildEvents()
    pieces = [events.take(LogProgress(vertex=RUN, stream=1, data=data, at=1)) for data in (b"\xc3", b"\xa9\xff")]
    assert [one["aux"]["data"] for one in pieces] == ["", "é\ufffd"]


def test_warnings_and_errors_show_where() -> None:
    warning = WarningProgress(vertex=RUN, level=1, short="s", file="D", source=b"a\nb\nc\n", ranges=WHERE)
    assert "   2 | >>> b\n" in aux(warning)["excerpt"]
    failed = VertexFailed("no", vertex=RUN, exit_code=3, file="D", source=b"a\nb\nc\n", ranges=WHERE)
    assert detail_of(failed)["code"] == 3
    assert detail_of(failed)["excerpt"].startswith("D:2\n")
    assert detail_of(DockerfileError("no")) == {}
    assert detail_of(ValueError("no")) == {}


def asked(version: str, **query: str) -> BuildQuery:
    return parse(MultiDict({"version": version, **query}))


def test_only_our_own_client_has_parameters_of_its_own() -> None:
    mine = {
        "frontend": '{"no-cache": "a", "context:b": "docker-image://c"}',
        "cacheto": '[{"Type": "inline"}]',
        "allow": '["security.insecure"]',
    }
    found = asked("3", **mine)
    assert found.options == {"no-cache": "a", "context:b": "docker-image://c"}
    assert (found.entitlements, found.cache.exports[0].type) == ({"security.insecure"}, "inline")
    found = asked("1", **mine)
    assert (found.options, found.entitlements, found.cache.exports) == ({}, frozenset(), ())


@pytest.mark.parametrize("name", ["filename", "context", "build-arg:x", "cmdline", "context:x"])
def test_options_of_the_frontend_are_chosen(name: str) -> None:
    with pytest.raises(InvalidInput, match="invalid frontend option"):
        asked("3", frontend=json.dumps({name: "local:x"}))


def test_a_question_is_not_exported() -> None:
    assert asked("3", frontend='{"requestid": "frontend.lint"}', t="x").exports == ()


def test_secrets_come_in_a_header() -> None:
    text = base64.b64encode(json.dumps({"a": base64.b64encode(b"\xff1").decode()}).encode()).decode()
    assert parse_secrets(text) == {"a": b"\xff1"}
    assert parse_secrets("") == {}


@pytest.mark.parametrize("text", ["!", "e30", "W10=", base64.b64encode(b'{"a": "s3cret!"}').decode()])
def test_a_wrong_header_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_secrets(text)
    assert caught.value.message == "the header X-Build-Secrets is malformed"
