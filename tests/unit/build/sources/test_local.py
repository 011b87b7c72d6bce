"""Directories of clients as sources."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from support.build_sources import ClientSession, Directories, content_of, request_for
from wherry.build.model.progress import Progress, TransferProgress
from wherry.build.model.session import Selection
from wherry.build.model.snapshot import PASSING
from wherry.build.sources.local import LocalSource
from wherry.errors import InvalidInput, NotFound, OutOfSpace


async def test_a_clients_directory_is_its_own_kept_copy(tmp_path: Path) -> None:
    source, session = LocalSource(Directories(tmp_path)), ClientSession(context={"a": b"1"})
    progress: list[Progress] = []
    fetch = source.open(request_for("local://context", session, progress))
    key = await fetch.key()
    assert content_of(await fetch.snapshot()) == {"a": "1"}
    await fetch.close()
    assert (key.kind, key.keep, key.description) == ("source.local", False, "local source for context")
    assert [one.current for one in progress if isinstance(one, TransferProgress)][-1] == 1
    assert isinstance(progress[-1], TransferProgress)
    assert progress[-1].completed


async def test_the_next_build_from_the_same_place_begins_with_what_was_sent(tmp_path: Path) -> None:
    directories = Directories(tmp_path)
    source, paths = LocalSource(directories), []
    for content in ({"a": b"1", "b": b"2"}, {"a": b"1"}):
        fetch = source.open(request_for("local://context", ClientSession(context=content)))
        await fetch.key()
        snapshot = await fetch.snapshot()
        paths.append(snapshot.lower)
        assert set(content_of(snapshot)) == set(content)
        await fetch.close()
    assert paths[0] == paths[1]
    assert not directories.used


async def test_a_directory_that_is_in_use_is_not_changed_by_another_build(tmp_path: Path) -> None:
    source = LocalSource(Directories(tmp_path))
    first = source.open(request_for("local://context", ClientSession(context={"a": b"1"})))
    await first.key()
    second = source.open(request_for("local://context", ClientSession(context={"a": b"2"})))
    await second.key()
    assert content_of(await first.snapshot()) == {"a": "1"}
    assert content_of(await second.snapshot()) == {"a": "2"}


async def test_directories_of_different_places_names_and_hints_are_different(tmp_path: Path) -> None:
    directories = Directories(tmp_path)
    source, other = LocalSource(directories), ClientSession(context={}, dockerfile={})
    nameless = [ClientSession(context={}), ClientSession(context={})]
    for number, session in enumerate(nameless):
        session.shared_key, session.id = "", f"session-{number}"
    other.shared_key = "another place"
    requests = [
        request_for("local://context", ClientSession(context={})),
        request_for("local://context", other),
        request_for("local://dockerfile", other),
        request_for("local://context", other, local__sharedkeyhint="x"),
        *(request_for("local://context", session) for session in nameless),
    ]
    for request in requests:
        fetch = source.open(request)
        await fetch.key()
        await fetch.close()
    assert len(directories.paths("source.local")) == len(requests)


async def test_what_is_wanted_of_a_directory_is_asked_of_the_session_that_has_it(tmp_path: Path) -> None:
    source, session = LocalSource(Directories(tmp_path)), ClientSession(context={})
    patterns = {f"local__{name}": json.dumps([name]) for name in ("includepattern", "excludepatterns", "followpaths")}
    fetch = source.open(request_for("local://context", session, local__session="other", **patterns))
    await fetch.key()
    [(name, selection, other)] = session.asked
    assert (name, other) == ("context", "other")
    assert (selection.include, selection.exclude, selection.follow) == (
        ("includepattern",),
        ("excludepatterns",),
        ("followpaths",),
    )


@pytest.mark.parametrize("text", ["{}", "x", "[1]", '["\\u0000"]', "[" * 100_000])
def test_patterns_that_are_none_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidInput, match="is no list of patterns"):
        LocalSource(Directories(tmp_path)).open(request_for("local://context", local__includepattern=text))


async def test_a_client_without_the_directory_leaves_none_in_use(tmp_path: Path) -> None:
    directories = Directories(tmp_path)
    fetch = LocalSource(directories).open(request_for("local://context", ClientSession()))
    with pytest.raises(NotFound, match="no local sources enabled: context"):
        await fetch.key()
    await fetch.close()
    await fetch.close()
    assert not directories.used


class _Large(ClientSession):
    """A client with more than the disk holds."""

    async def sync(
        self, name: str, destination: Path, selection: Selection, progress: Callable[[int], None], *, session: str = ""
    ) -> None:
        (destination / "d").mkdir()
        (destination / "d" / "a").write_bytes(bytes(1000))
        raise OutOfSpace("the disk is full")


def names_in(directory: Path) -> set[str]:
    """The names of all that is in there."""
    return {path.name for path in directory.rglob("*")}


async def test_what_the_disk_did_not_hold_takes_no_room_from_others(tmp_path: Path) -> None:
    fetch = LocalSource(Directories(tmp_path)).open(request_for("local://context", _Large()))
    with pytest.raises(OutOfSpace):
        await fetch.key()
    await fetch.close()
    assert names_in(tmp_path).isdisjoint({"a", "d"})


class _Placed:
    """A directory of this machine."""

    def __init__(self, path: Path) -> None:
        self.places, self.releases = (path,), 0

    def release(self) -> None:
        self.releases += 1


class _Local(ClientSession):
    """A client whose directory is on this machine."""

    def __init__(self, placed: _Placed) -> None:
        super().__init__(context={"a": b"sent"})
        self.placed = placed

    async def directory(self, name: str, selection: Selection, progress: Callable[[int], None]) -> _Placed:
        progress(7)
        return self.placed


@pytest.mark.parametrize("attribute", [{}, {"local__session": "session-1"}])
async def test_a_directory_of_this_machine_is_used_where_it_is_until_the_build_is_over(
    tmp_path: Path, attribute: dict[str, str]
) -> None:
    (tmp_path / "a").write_text("here")
    directories, placed, progress = Directories(tmp_path / "kept"), _Placed(tmp_path), list[Progress]()
    fetch = LocalSource(directories).open(request_for("local://context", _Local(placed), progress, **attribute))
    await fetch.key()
    snapshot = await fetch.snapshot()
    assert [(layer.number, layer.path) for layer in snapshot.layers] == [(PASSING, str(tmp_path))]
    assert (placed.releases, directories.paths("source.local")) == (0, [])
    assert [one.current for one in progress if isinstance(one, TransferProgress)][-1] == 7
    await fetch.close()
    assert placed.releases == 1


async def test_a_directory_of_another_session_is_asked_of_that(tmp_path: Path) -> None:
    placed = _Placed(tmp_path / "none")
    request = request_for("local://context", _Local(placed), local__session="other")
    fetch = LocalSource(Directories(tmp_path)).open(request)
    await fetch.key()
    assert content_of(await fetch.snapshot()) == {"a": "sent"}
    await fetch.close()
    assert placed.releases == 0
