"""Steps of builds, as far as no kernel is needed: their configuration, their output, places for their mounts."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from wherry.build.model.executor import Limits, Step, StepMount
from wherry.build.model.failure import Console, StepStreams
from wherry.build.model.graph import ExecOp, HostEntry, SecurityMode, Ulimit
from wherry.content.durable import remove_tree
from wherry.engine.build import mount_places
from wherry.engine.build.emulation import emulated, explained
from wherry.engine.build.guest import environment, guest_of
from wherry.engine.build.interactive import AttendedStreams
from wherry.engine.build.mount_places import PlaceLayers, places_of, remove_places
from wherry.engine.build.output import OutputPipes
from wherry.engine.container.container import Container
from wherry.errors import CommandNotExecutable, InvalidInput, Unavailable
from wherry.layers.overlay_paths import OverlayMount
from wherry.linux.fd import Fd
from wherry.oci.platform import Platform

ETC = ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"]


def step(*, env: tuple[str, ...] = (), limits: Limits | None = None, **op: Any) -> Step:
    return Step(
        id="1" * 64, op=ExecOp(args=("true",), mounts=(), **op), root=OverlayMount("/", (), "/u", "/w"), env=env,
        limits=limits or Limits(),
    )  # fmt: skip


async def nothing(op: str, **fields: int | None) -> None:
    """The keeper is not there."""


def guest(**options: Any) -> Container:
    return guest_of(step(**options), Path("/a"), Path("/b"), nothing, default_network="bridge")


# --- the configuration ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "mode", "joins"),
    [
        ("default", "bridge", ["bridge"]),
        ("none", "none", ["none"]),
        ("host", "host", ["host"]),
        ("network:n1", "n1", ["n1"]),
        ("network:container:web", "container:web", []),
        ("network:host", "host", ["host"]),
        ("network:network:host", "network:host", ["network:host"]),
    ],
)
def test_a_step_is_on_the_network_that_it_names(network: str, mode: str, joins: list[str]) -> None:
    found = guest(network=network)
    assert found.host.network_mode == mode
    assert list(found.definition.networks) == joins


def test_what_a_step_asks_for_becomes_a_containers_configuration() -> None:
    found = guest(
        user="me", cwd="/x", hostname="h", shm_size=7, ulimits=(Ulimit("nofile", 1, 2),), cgroup_parent="p",
        extra_hosts=(HostEntry("a", "::1"),), limits=Limits(memory=8 << 20), security=SecurityMode.INSECURE,
    )  # fmt: skip
    host = found.host
    assert (found.config.user, found.config.working_dir, found.config.hostname) == ("me", "/x", "h")
    assert (host.shm_size, host.memory, host.cgroup_parent, host.privileged) == (7, 8 << 20, "p", True)
    assert host.extra_hosts == ["a:::1"]


@pytest.mark.parametrize(
    ("network", "expected"),
    [("none", ["a:::1", "h:127.0.0.1"]), ("host", ["a:::1", "h:127.0.0.1"]), ("default", ["a:::1"])],
)
def test_a_step_knows_its_own_name_without_asking_anybody(network: str, expected: list[str]) -> None:
    """On a network it has an address, which its name means."""
    found = guest(network=network, hostname="h", extra_hosts=(HostEntry("a", "::1"),))
    assert found.host.extra_hosts == expected


def test_what_a_step_lists_is_bounded() -> None:
    mounts = tuple(StepMount(target=f"/{number}", kind="tmpfs") for number in range(2000))
    many = msgspec.structs.replace(step(), mounts=mounts)
    guest_of(many, Path("/a"), Path("/b"), nothing, default_network="bridge")
    more = msgspec.structs.replace(step(), mounts=(*mounts, mounts[0]))
    with pytest.raises(InvalidInput, match="more than 2000 mounts"):
        guest_of(more, Path("/a"), Path("/b"), nothing, default_network="bridge")
    with pytest.raises(InvalidInput, match="more than 2000 extra hosts"):
        guest(extra_hosts=(HostEntry("a", "::1"),) * 2001)
    with pytest.raises(InvalidInput, match="more than 2000 ulimits"):
        guest(ulimits=(Ulimit("nofile", 1, 2),) * 2001)
    with pytest.raises(InvalidInput, match="more than 100000 arguments and environment variables"):
        guest(env=("A=b",) * 100_000)


def test_an_environment_without_a_search_path_gets_one() -> None:
    assert environment(step(env=("PATH=/x", "A=b"))) == ("PATH=/x", "A=b")
    assert environment(step(env=("A=b",)))[0].startswith("PATH=/usr/local/sbin:")
    assert "TERM=xterm" not in environment(step())
    assert environment(step(env=("PATH=/x",)), terminal=True) == ("TERM=xterm", "PATH=/x")
    assert environment(step(env=("TERM=vt100", "PATH=/x")), terminal=True) == ("TERM=vt100", "PATH=/x")


def test_what_cannot_be_is_refused_before_anything_is_begun() -> None:
    with pytest.raises(InvalidInput, match="6MB"):
        guest(limits=Limits(memory=1))
    with pytest.raises(InvalidInput, match="cgroup parent"):
        guest(cgroup_parent="../x")
    with pytest.raises(InvalidInput, match="container format"):
        guest(network="network:container:")


# --- other processors -----------------------------------------------------------------------------


def test_an_emulator_counts_only_if_it_works_in_any_root(tmp_path: Path) -> None:
    arm = Platform("linux", "arm64")
    assert not emulated(arm, tmp_path)
    for text, works in (
        ("enabled\ninterpreter /q\nflags: OCF\n", True),
        ("enabled\ninterpreter /q\nflags: \n", False),
        ("disabled\ninterpreter /q\nflags: F\n", False),
    ):
        (tmp_path / "qemu-aarch64").write_text(text)
        assert emulated(arm, tmp_path) is works


def test_a_program_of_this_machines_own_kind_is_not_explained_away() -> None:
    error = CommandNotExecutable("exec format error")
    assert explained(error, Platform.host()) is error
    assert explained(error, None) is error
    assert "qemu-user-static" in str(explained(error, Platform("linux", "mips64")))


# --- output ---------------------------------------------------------------------------------------


async def test_what_was_written_comes_in_order_and_ends_with_both_streams() -> None:
    pipes, found = OutputPipes(), {1: b"", 2: b""}

    async def output(stream: int, data: bytes) -> None:
        found[stream] += data

    for number, fd in enumerate(pipes.theirs, 1):
        os.write(fd.fileno(), b"%d" % number * 1000)
    pipes.close_theirs()
    await pipes.forward(output)
    assert found == {1: b"1" * 1000, 2: b"2" * 1000}


async def test_who_holds_a_pipe_open_after_the_end_is_not_waited_for() -> None:
    pipes, found = OutputPipes(), bytearray()

    async def output(stream: int, data: bytes) -> None:
        found.extend(data)
        os.write(held, b"more")  # whoever holds it writes on

    held = os.dup(pipes.theirs[0].fileno())
    try:
        os.write(held, b"last words")
        pipes.close_theirs()
        pipes.has_ended()
        await asyncio.wait_for(pipes.forward(output), 60)
        assert bytes(found) == b"last words"
    finally:
        os.close(held)
        pipes.close()


# --- somebody at the streams ----------------------------------------------------------------------


async def test_who_attends_has_three_pipes_and_all_that_came_before_the_end() -> None:
    streams, seen = AttendedStreams(Console()), []
    stdin, *outputs = [os.dup(fd.fileno()) for fd in streams.theirs]
    assert (streams.terminal, streams.size, streams.has_input) == (False, None, True)
    streams.close_theirs()

    async def attend(given: StepStreams) -> None:
        given.resize(1, 1)  # there is no terminal
        await given.write(b"typed")
        await given.close_stdin()
        assert os.read(stdin, 100) + os.read(stdin, 100) == b"typed"
        for stream, fd in enumerate(outputs, 1):
            os.write(fd, b"%d" % stream)
        streams.has_ended()  # others may hold the pipes open
        seen.extend([chunk async for chunk in given.output()])

    await asyncio.wait_for(streams.attended(attend), 60)
    assert seen == [(1, b"1"), (2, b"2")]
    streams.close()
    for fd in (stdin, *outputs):
        os.close(fd)


async def test_who_leaves_before_the_end_has_left() -> None:
    async def attend(given: StepStreams) -> None:
        """Leaves at once."""

    for console in (Console(), Console(terminal=True, size=(24, 80))):
        streams = AttendedStreams(console)
        assert len(streams.theirs) == (0 if console.terminal else 3)
        if console.terminal:
            assert streams.size == [24, 80]
            master, slave = os.openpty()
            os.close(slave)
            streams.take_process(Fd(os.pidfd_open(os.getpid())), [Fd(master)])
        with pytest.raises(Unavailable, match="nobody attends"):
            await streams.attended(attend)
        streams.close()


async def test_a_step_that_nobody_answered_for_is_gone_when_its_pipes_are() -> None:
    streams = AttendedStreams(Console())
    held = os.dup(streams.theirs[1].fileno())
    streams.close_theirs()
    os.write(held, b"nobody wants it")
    gone = asyncio.create_task(streams.drained())
    await asyncio.sleep(0)
    assert not gone.done()
    os.close(held)
    await asyncio.wait_for(gone, 60)
    streams.close()


# --- places ---------------------------------------------------------------------------------------


def test_places_are_those_in_the_root_and_not_in_what_is_mounted_there() -> None:
    found = places_of([("/a/b", True), ("/a/b/c", False), ("/dev/x", True), ("/f//", False), ("/", True), ("/u", None)])
    assert found == {**dict.fromkeys(ETC, False), "/dev": True, "/proc": True, "/sys": True} | {
        "/a/b": True, "/f": False, "/u": None,
    }  # fmt: skip


@pytest.mark.parametrize("place", ["/" + "a" * 256, "/a" * 2000, "/ä" * 1500])
def test_a_place_that_is_no_path_is_refused(place: str) -> None:
    with pytest.raises(InvalidInput, match="too long"):
        places_of([(place, True)])


def test_a_layer_may_be_as_deep_as_a_path(tmp_path: Path) -> None:
    deep = "/a" * 1500
    made = PlaceLayers(tmp_path / "places").layer(places_of([(deep + "/b", True), (deep + "/c", False)]), tmp_path)
    assert sorted(os.listdir(made + deep)) == ["b", "c"]
    assert remove_tree(tmp_path / "places")


def test_steps_with_the_same_places_share_a_layer(tmp_path: Path) -> None:
    layers = PlaceLayers(tmp_path / "places")
    places = {"/a/b": True, "/c/file": False, "/unknown/x": None}
    made = Path(layers.layer(places, tmp_path / "own"))
    assert layers.layer(dict(places), tmp_path / "own") == str(made)
    assert sorted(str(path.relative_to(made)) for path in made.rglob("*")) == ["a", "a/b", "c", "c/file"]
    assert (made / "a/b").is_dir()
    assert (made / "c/file").read_bytes() == b""
    layers.remove()
    assert os.listdir(tmp_path) == []


def test_steps_that_begin_together_share_a_layer(tmp_path: Path) -> None:
    layers, together = PlaceLayers(tmp_path / "places"), threading.Barrier(8, timeout=60)
    many = {f"/a/{number}": True for number in range(300)}

    def begin(number: int) -> str:
        together.wait()
        return layers.layer(many, tmp_path / f"own-{number}")

    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(begin, range(8)))
    assert [Path(path).name for path in found] == os.listdir(tmp_path / "places")
    assert os.listdir(tmp_path) == ["places"]


def test_layers_that_an_earlier_daemon_has_left_go_with_the_first_one(tmp_path: Path) -> None:
    directory = tmp_path / "build" / "places"
    (directory / "left/etc").mkdir(parents=True)
    layers = PlaceLayers(directory)
    assert os.listdir(directory) == ["left"], "nothing is removed before a step runs"
    first = layers.layer({"/a": True}, tmp_path / "own")
    second = layers.layer({"/b": True}, tmp_path / "own")
    assert sorted(os.listdir(directory)) == sorted(Path(path).name for path in (first, second))


def test_a_step_has_its_own_layer_when_there_are_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mount_places, "_MOST", 1)
    layers = PlaceLayers(tmp_path / "places")
    layers.layer({"/a": True}, tmp_path / "first")
    assert layers.layer({"/b": True}, tmp_path / "own") == str(tmp_path / "own")
    assert os.listdir(tmp_path / "own") == ["b"]
    assert len(os.listdir(tmp_path / "places")) == 1


def test_only_what_the_runtime_made_is_removed_from_a_layer(tmp_path: Path) -> None:
    upper, lower, host = (tmp_path / name for name in ("upper", "lower", "host"))
    for directory in (upper / "made/place", upper / "kept/place", lower / "kept", upper / "changed/place", host / "x"):
        directory.mkdir(parents=True)
    (lower / "changed").mkdir(mode=0o700)
    (upper / "kept/place/file").touch()
    (upper / "link").symlink_to(host)
    (upper / "etc").mkdir()
    (upper / "etc/hosts").touch()
    (upper / "etc/full").write_text("x")
    places = ["/made/place", "/kept/place", "/changed/place", "/link/x", "/etc/hosts", "/etc/full", "/nothing/there"]
    remove_places(str(upper), [str(lower)], places)
    left = sorted(str(path.relative_to(upper)) for path in upper.rglob("*"))
    assert left == ["changed", "etc", "etc/full", "kept", "kept/place", "kept/place/file", "link"]
    assert (host / "x").is_dir()
