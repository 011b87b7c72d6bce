"""Why a step was run, or taken from the cache."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from support.build_fakes import ClientSession, Workshop, copy, image, local, request, run, states
from wherry.build.model.graph import Edge
from wherry.build.model.service import PruneOptions
from wherry.build.solver.explain import Explainer
from wherry.errors import Unavailable


async def explanations(shop: Workshop, edge: Edge, **options: object) -> dict[str, str]:
    """Build; the explanations by names."""
    events = await shop.build(edge, **options)
    await shop.builder.collected()
    return {name: state.explanation for name, state in states(events).items()}


async def test_commands_variables_and_bases(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        shop.sources.images |= {"base": {"file": b"1"}, "other": {"file": b"2"}}

        def edge(base: str, command: str, **options: object) -> Edge:
            first = run(image(base), command, name="[1/2] RUN first", **options)
            return run(first, "second", name="[2/2] RUN second")

        found = await explanations(shop, edge("base", "make", env=("A=1",)))
        assert found["[1/2] RUN first"] == "no earlier build of this step is remembered"
        found = await explanations(shop, edge("base", "make", env=("A=1",)))
        assert found["[1/2] RUN first"] == found["[2/2] RUN second"] == "nothing that it depends on has changed"
        found = await explanations(shop, edge("base", "make", env=("A=2", "B=1")))
        assert found["[1/2] RUN first"] == "the variable A differs; the variable B is new"
        assert found["[2/2] RUN second"] == 'the base "[1/2] RUN first" differs'
        found = await explanations(shop, edge("base", "make all", env=("A=2", "B=1")))
        assert found["[1/2] RUN first"] == "the command differs"
        found = await explanations(shop, edge("base", "make all", env=("A=2", "B=1"), ignore_cache=True))
        assert found["[1/2] RUN first"] == "the cache was not to be used for it"


async def test_what_was_pruned(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        shop.sources.images["base"] = {"file": b"1"}
        await explanations(shop, run(image("base"), "make"))
        async for _ in shop.builder.prune(PruneOptions(all=True)):
            pass
        found = await explanations(shop, run(image("base"), "make"))
        assert found["RUN make"] == "its result is not in the cache any more"


async def test_the_files_that_differ_are_named(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        shop.sources.images["base"] = {"file": b"1"}
        edge = copy(image("base"), local(), "src", "/src")
        files = {"src/same": b"1", "src/changed": b"1", "src/old": b"1"}
        shop.builder.attach(ClientSession("1", context=files))
        await explanations(shop, edge, session="1")
        files = {"src/same": b"1", "src/changed": b"2", "src/new": b"1"}
        shop.builder.attach(ClientSession("2", context=files))
        found = await explanations(shop, edge, session="2")
        content = "the content of src from local://context"
        assert found["COPY src /src"] == f"{content}: src/changed differs, src/new is new, src/old is gone"


async def test_a_file_that_is_copied_itself_differs(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        shop.sources.images["base"] = {"file": b"1"}
        edge = copy(image("base"), local(), "/one", "/one")
        for session in ("1", "2"):
            shop.builder.attach(ClientSession(session, context={"one": session.encode()}))
            found = await explanations(shop, edge, session=session)
        assert found["COPY /one /one"] == "the content of /one from local://context differs"


async def test_a_build_that_is_interrupted_while_a_step_is_explained_goes_on_with_its_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_go = threading.Event(), threading.Event()

    def explain(*_: object) -> str:
        begun.set()
        may_go.wait()
        return "it is so"

    monkeypatch.setattr(Explainer, "explain", explain)
    async with Workshop(tmp_path) as shop:
        build, edge = shop.builder.begin(request("b")), run(None, "make")
        asking = asyncio.create_task(build.evaluate(edge))
        await asyncio.to_thread(begun.wait)
        asking.cancel()
        may_go.set()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await build.evaluate(edge)
        assert shop.executor.ran["make"] == 1
        await build.fail(Unavailable("over"))
        assert [one.in_use for one in await shop.builder.disk_usage()] == [False]
