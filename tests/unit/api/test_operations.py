"""Every operation of the API, over a real engine on a fake keeper and a network without a kernel."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from support.api_conformance import STEPS
from support.api_harness import ApiHarness, small_archive

API = Path(__file__).parents[3] / "src/wherry/api"
#: Refused by the same few lines as their neighbours; the end of the daemon and BuildKit's gRPC have tests of their own.
ELSEWHERE = {
    ("POST", "/wherry/shutdown"), ("POST", "/grpc"), ("POST", "/session"), ("HEAD", "/containers/{id:path}/archive"),
    ("POST", "/wherry/build/shell"), ("POST", "/wherry/build/shell/resize"),
}  # fmt: skip


def operations() -> set[tuple[str, str]]:
    """What the routes declare, by method and pattern; what is refused as a whole is declared by a table."""
    return {
        found
        for path in (API / "routes").glob("*.py")
        for found in re.findall(r'Route\(\s*"([A-Z]+)", "([^"]+)"', path.read_text())
    }


async def test_each_operation_answers_as_it_must(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = []
    async with ApiHarness(tmp_path).serving(monkeypatch) as api:
        made = await api.ask("POST", "/images/create", small_archive("bin"), fromSrc="-", repo="image")
        assert made.status == 200
        for step in STEPS:
            if not step.kernel:
                answer = await api.ask(step.method, step.target, step.body, **step.query)
                try:
                    step.judge(answer)
                except AssertionError as error:
                    wrong.append(str(error))
    assert not wrong, "\n".join(wrong)


def test_each_operation_is_asked_for() -> None:
    asked = {(step.method, step.pattern) for step in STEPS}
    assert len(operations()) > 70
    assert operations() - asked <= ELSEWHERE, "an operation that no step asks for"


def test_the_end_of_the_daemon_is_asked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        async with ApiHarness(tmp_path).serving(monkeypatch) as api:
            assert (await api.ask("POST", "/wherry/shutdown", kill=True)).status == 204
            assert api.shut_down == [True]

    asyncio.run(scene())
