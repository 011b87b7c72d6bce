"""Steps with somebody at their standard streams, on a real kernel: what a shell in a failed step is."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator

import msgspec
import pytest

from support.needs import need
from support.steps import PATIENCE, Ran, StepBench, step_bench
from wherry.build.model.executor import Limits, Step, StepMount, StepResult
from wherry.build.model.failure import Console, StepStreams
from wherry.errors import CommandNotFound, Unavailable

pytestmark = [need("root", "busybox", "overlay", "namespaces"), pytest.mark.vm]

PIPES = Console()
TERMINAL = Console(terminal=True, size=(24, 80))


@pytest.fixture(scope="module")
def bench() -> Iterator[StepBench]:
    with step_bench() as found:
        yield found


class Person:
    """Somebody at the streams of a step: types, and reads all that comes.

    :param acts: what he does meanwhile; then he waits for the end, unless `leaves`.
    """

    def __init__(self, acts: Callable[[Person], Awaitable[None]], *, leaves: bool = False) -> None:
        self.seen = bytearray()
        self.streams: StepStreams
        self._acts = acts
        self._leaves = leaves
        self._more = asyncio.Event()

    async def __call__(self, streams: StepStreams) -> None:
        self.streams = streams
        reading = asyncio.create_task(self._read())
        try:
            await self._acts(self)
            if not self._leaves:
                await reading
        finally:
            reading.cancel()
            await asyncio.wait([reading])

    async def _read(self) -> None:
        async for chunk in self.streams.output():
            self.seen += chunk.data
            self._more.set()

    async def types(self, text: str) -> None:
        """Type."""
        await self.streams.write(text.encode())

    async def sees(self, text: str) -> None:
        """Wait for something."""
        async with asyncio.timeout(PATIENCE):
            while text.encode() not in self.seen:
                self._more.clear()
                await self._more.wait()


def attend(
    bench: StepBench,
    step: Step,
    acts: Callable[[Person], Awaitable[None]],
    console: Console = PIPES,
    *,
    leaves: bool = False,
) -> tuple[StepResult, str]:
    """Run a step with somebody at it; how it ended, and what he saw."""

    async def work() -> tuple[StepResult, str]:
        person = Person(acts, leaves=leaves)
        result = await bench.engine.steps.interact(step, console, person)
        return result, person.seen.decode()

    return bench.call(work())


def after(bench: StepBench, ran: Ran, *args: str) -> Step:
    """Another command where a step has ended."""
    op = msgspec.structs.replace(ran.step.op, args=args)
    return msgspec.structs.replace(ran.step, id=bench.step("true").id, op=op)


async def nothing(person: Person) -> None:
    """He waits."""


async def says_bye(person: Person) -> None:
    await person.types("echo bye\n")
    await person.streams.close_stdin()


def test_it_reads_what_is_typed_and_ends_with_its_input(bench: StepBench) -> None:
    step = bench.step("cat; echo over >&2; exit 3")
    result, seen = attend(bench, step, says_bye)
    assert (result.exit_code, seen) == (3, "echo bye\nover\n")
    assert bench.remains(step) == []


def test_it_finds_what_a_failed_step_has_left_twice(bench: StepBench) -> None:
    directory = bench.directory()
    cache = StepMount("/cache", "bind", source=str(directory))
    ran = bench.run(
        "echo 1 > /etc/left; rm /bin/vi; echo 2 > /cache/kept; exit 5", mounts=(cache,), user="guest:root", cwd="/tmp"
    )
    assert ran.result.exit_code != 0
    ran = bench.run("echo 1 > /etc/left; echo 2 > /cache/kept; exit 5", mounts=(cache,), env=("PATH=/bin", "S=given"))
    for turn in range(2):
        shell = after(bench, ran, "/bin/sh")

        async def looks(person: Person) -> None:
            await person.types("cat /etc/left /cache/kept; echo $S; echo more >> /etc/left; wc -l < /etc/left\n")
            await person.streams.close_stdin()

        result, seen = attend(bench, shell, looks)
        assert (result.exit_code, seen.split()[-2:]) == (0, ["given", str(turn + 2)])
        assert bench.remains(shell) == []
    assert "etc/left" in ran.changes()


def test_a_terminal_is_one_of_its_own_devpts_with_a_size(bench: StepBench) -> None:
    async def acts(person: Person) -> None:
        await person.types("tty; stty size; id -u; echo $TERM; ls /dev/pts\n")
        await person.sees("ptmx\r\n")
        person.streams.resize(33, 99)
        await person.types("stty size; exit 4\n")

    step = bench.step("/bin/sh", "-i", user="guest")
    result, seen = attend(bench, step, acts, TERMINAL)
    assert result.exit_code == 4
    for text in ("/dev/pts/0\r\n24 80\r\n", "\r\nxterm\r\n", "33 99\r\n"):
        assert text in seen, seen
    assert bench.remains(step) == []


def test_its_limits_and_network_are_the_steps(bench: StepBench) -> None:
    step = bench.step(
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max; "
        "ls /sys/class/net; hostname",
        limits=Limits(memory=64 << 20), hostname="there",
    )  # fmt: skip
    _, seen = attend(bench, step, nothing)
    assert seen.split() == [str(64 << 20), "lo", "there"]


@pytest.mark.parametrize("console", [PIPES, TERMINAL])
def test_who_leaves_ends_it_and_all_that_it_has_started(bench: StepBench, console: Console) -> None:
    async def acts(person: Person) -> None:
        await person.types("trap '' HUP TERM INT; sleep 98765 & setsid sleep 98765 & echo rea''dy; exec sleep 98765\n")
        await person.sees("ready")

    step = bench.step("/bin/sh")
    with pytest.raises(Unavailable, match="nobody attends"):
        attend(bench, step, acts, console, leaves=True)
    assert bench.remains(step) == []


@pytest.mark.parametrize("console", [PIPES, TERMINAL])
def test_being_cancelled_ends_it(bench: StepBench, console: Console) -> None:
    there = threading.Event()

    async def acts(person: Person) -> None:
        await person.types("echo rea''dy; exec sleep 98765\n")
        await person.sees("ready")
        there.set()

    step = bench.step("/bin/sh")
    running = bench.begin(bench.engine.steps.interact(step, console, Person(acts)))
    assert there.wait(PATIENCE)
    bench.cancel(running)
    assert bench.remains(step) == []


@pytest.mark.parametrize("console", [PIPES, TERMINAL])
def test_a_program_that_is_not_there_is_said_and_nobody_is_called(bench: StepBench, console: Console) -> None:
    called = []

    async def acts(person: Person) -> None:
        called.append(person)

    step = bench.step("/no/such", "x")
    with pytest.raises(CommandNotFound, match="/no/such"):
        attend(bench, step, acts, console)
    assert (called, bench.remains(step)) == ([], [])


@pytest.mark.parametrize("console", [PIPES, TERMINAL])
def test_closed_streams_do_not_end_it(bench: StepBench, console: Console) -> None:
    step = bench.step("echo first; exec 0<&- 1>&- 2>&-; sleep 0.2; exit 6")
    result, seen = attend(bench, step, nothing, console)
    assert (result.exit_code, seen.rstrip()) == (6, "first")


def test_all_of_a_flood_comes_before_the_end(bench: StepBench) -> None:
    for console, size in ((PIPES, 1_000_000), (TERMINAL, 1_000_000)):
        result, seen = attend(bench, bench.step("head -c 1000000 /dev/zero | tr '\\0' x; exit 2"), nothing, console)
        assert (result.exit_code, len(seen)) == (2, size)
