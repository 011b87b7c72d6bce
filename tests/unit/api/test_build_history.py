"""``/wherry/builds``: which build a text means, and the log of a build, served over a real unix socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import ClientSession, UnixConnector

from support.build_service import FakeBuilds
from wherry.api.classic.records import document, find
from wherry.api.http.hijack import HangupWatch
from wherry.api.http.routing import Router
from wherry.api.http.server import Api
from wherry.api.routes.build_history import BuildHistoryRoutes
from wherry.build.model.progress import LogProgress, VertexProgress
from wherry.build.model.service import BuildRecord
from wherry.errors import Conflict, NotFound
from wherry.oci.digest import Digest

RUN = Digest.from_bytes(b"run")
A, B = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"


def record(ref: str, at: int, image: str = "", names: str = "", **members: Any) -> BuildRecord:
    response = {"containerimage.config.digest": image, "image.name": names} if image else {}
    return BuildRecord(ref=ref, created=at, completed=at + 1, exporter_response=response, **members)


HISTORY = [
    record("abc1", 1, A, "docker.io/library/web:1"),
    record("abd2", 2, A, "docker.io/library/web:1,docker.io/library/web:latest"),
    record("e/3", 3, B),
    record("fails", 4, error="no"),
]


def meant(text: str, ids: dict[str, str] | None = None) -> str:
    return find(HISTORY, text, lambda name: (ids or {}).get(name, "")).ref


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("abc1", "abc1"), ("abc", "abc1"), ("e/", "e/3"), ("^0", "fails"), ("^3", "abc1"), ("web:1", "abd2"),
        ("web", "abd2"), (A, "abd2"), ("bbbbb", "e/3"), ("f", "fails"),
    ],
)  # fmt: skip
def test_a_build_is_meant_by_its_id_a_part_of_it_or_its_image(text: str, ref: str) -> None:
    assert meant(text) == ref


def test_an_image_that_was_named_since_means_its_build() -> None:
    assert meant("mine:2", {"mine:2": B}) == "e/3"
    with pytest.raises(NotFound, match="no such build: mine:2"):
        meant("mine:2", {"mine:2": f"sha256:{'c' * 64}"})


@pytest.mark.parametrize("text", ["nothing", "^4", "aaa", "", "\0", "x" * 100_000])
def test_what_means_no_build_is_said_in_short(text: str) -> None:
    with pytest.raises((NotFound, Conflict)) as caught:
        meant(text)
    assert len(str(caught.value)) < 200


def test_a_part_of_several_ids_means_none() -> None:
    with pytest.raises(Conflict, match="several builds begin with 'ab'"):
        meant("ab")
    with pytest.raises(NotFound, match="there are no builds"):
        find([], "^0", lambda name: "")


def test_the_state_of_a_build_is_in_its_document() -> None:
    states = [record("x", 1), record("x", 1, error="no"), record("x", 1, error="context canceled: y")]
    assert [document(one)["Status"] for one in [*states, BuildRecord(ref="y")]] == [
        "completed", "error", "canceled", "running",
    ]  # fmt: skip
    assert document(HISTORY[1])["Names"] == ["docker.io/library/web:1", "docker.io/library/web:latest"]


@asynccontextmanager
async def serving(root: Path) -> AsyncIterator[tuple[FakeBuilds, ClientSession]]:
    builds, watch = FakeBuilds(root), HangupWatch(asyncio.get_running_loop())
    builds.history = HISTORY
    api = Api(Router(BuildHistoryRoutes(builds, lambda name: "").routes()), watch)
    server = await asyncio.get_running_loop().create_unix_server(api.connection, root / "socket")
    async with ClientSession(connector=UnixConnector(str(root / "socket"))) as client:
        yield builds, client
    server.close()
    await api.close()


async def test_builds_are_listed_and_inspected(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, client):
        async with client.get("http://x/wherry/builds") as answer:
            assert [one["Ref"] for one in await answer.json()] == ["fails", "e/3", "abd2", "abc1"]
        async with client.get(f"http://x/wherry/builds/{quote('e/3')}/json") as answer:
            assert (await answer.json())["Image"] == B
        async with client.get("http://x/wherry/builds/none/json") as answer:
            assert (answer.status, await answer.json()) == (404, {"message": "no such build: none"})


async def test_a_log_is_what_was_said_and_how_it_ended(tmp_path: Path) -> None:
    async with serving(tmp_path) as (builds, client):
        more = asyncio.Event()
        builds.events = [
            VertexProgress(digest=RUN, name="x"), more, LogProgress(vertex=RUN, stream=1, data=b"late", at=2),
        ]  # fmt: skip
        async with client.get("http://x/wherry/builds/fails/logs") as answer:
            lines = [json.loads(line) for line in (await answer.text()).splitlines()]
        assert [line["aux"]["type"] for line in lines] == ["vertex", "build"]
        assert (lines[1]["aux"]["Status"], lines[1]["aux"]["Error"]) == ("error", "no")
        async with client.get("http://x/wherry/builds/fails/logs?follow=1") as answer:
            assert json.loads(await answer.content.readline())["aux"]["type"] == "vertex"
            more.set()
            assert json.loads(await answer.content.readline())["aux"]["data"] == "late"
        assert builds.followed == [False, True]
