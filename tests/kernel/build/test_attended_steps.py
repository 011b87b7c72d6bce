"""Steps with somebody at their standard streams, on a real kernel: what a shell in a failed step is."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import msgspec
import pytest

from support.needs import need
from support.steps import PATIENCE, Ran, StepBench, step_bench
from wherry.build.model.container import ContainerProcess
from wherry.build.model.executor import Limits, Step, StepMount, StepResult
from wherry.build.model.failure import Console, StepStreams
from wherry.errors import CommandNotFound, Conflict, InvalidInput, Unavailable

pytestmark = [need("root", "busybox", "overlay", "namespaces")]

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


# --- more processes in its container ----------------------------------------------------------------


def in_it(
    bench: StepBench, work: Callable[[str], Awaitable[None]], *, script: str = "echo there; cat", **options: Any
) -> Step:
    """Do something while a step runs, whose ID it is given; then the step ends."""
    step = bench.step(script, **options)

    async def acts(person: Person) -> None:
        await person.sees("there")
        await work(step.id)
        await person.streams.close_stdin()

    attend(bench, step, acts)
    assert bench.remains(step) == []
    return step


def test_another_process_is_in_the_same_container(bench: StepBench) -> None:
    async def work(identifier: str) -> None:
        async def types(person: Person) -> None:
            await person.types("hostname; id -u; pwd; cat /left; ls /sys/class/net; echo $A $PATH\n")
            await person.types("exit 3\n")

        person = Person(types)
        process = ContainerProcess(args=("/bin/sh",), env=("A=b", "PATH=/bin"), cwd="/tmp", user="guest")
        assert await bench.engine.steps.join(identifier, process, person) == 3
        assert person.seen.decode().split() == ["there", "1000", "/tmp", "left", "lo", "b", "/bin"]

    in_it(bench, work, script="echo left > /left; echo there; cat", hostname="there")


def test_another_process_may_have_a_terminal_and_is_sent_signals(bench: StepBench) -> None:
    async def work(identifier: str) -> None:
        async def acts(person: Person) -> None:
            await person.types("tty; stty size; exec sleep 98765\r")
            await person.sees("24 80\r\n")
            person.streams.signal(signal.SIGKILL)

        person = Person(acts)
        process = ContainerProcess(args=("/bin/sh",), env=("PATH=/bin",), console=TERMINAL)
        assert await bench.engine.steps.join(identifier, process, person) == 137
        assert b"/dev/pts/" in person.seen

    in_it(bench, work)


def test_another_process_ends_with_who_attends_to_it(bench: StepBench) -> None:
    async def work(identifier: str) -> None:
        async def leaves(person: Person) -> None:
            await person.types("echo rea''dy; exec sleep 98765\n")
            await person.sees("ready")

        sleeper = ContainerProcess(args=("/bin/sh",), env=("PATH=/bin",))
        with pytest.raises(Unavailable, match="nobody attends"):
            await bench.engine.steps.join(identifier, sleeper, Person(leaves, leaves=True))
        cancelled = asyncio.create_task(bench.engine.steps.join(identifier, sleeper, Person(leaves)))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        counting = Person(nothing)
        process = ContainerProcess(args=("/bin/sh", "-c", "ps | grep -c '[9]8765'"), env=("PATH=/bin",))
        await bench.engine.steps.join(identifier, process, counting)
        assert counting.seen.decode() == "0\n"

    in_it(bench, work)


def test_the_end_of_the_first_process_is_the_end_of_all(bench: StepBench) -> None:
    outcome: list[Any] = []

    async def work(identifier: str) -> None:
        started = asyncio.Event()

        async def waits(person: Person) -> None:
            await person.types("trap '' TERM HUP; echo rea''dy; sleep 98765\n")
            await person.sees("ready")
            started.set()

        async def run() -> None:
            process = ContainerProcess(args=("/bin/sh",), env=("PATH=/bin",))
            outcome.append(await bench.engine.steps.join(identifier, process, Person(waits)))

        outcome.append(asyncio.create_task(run()))
        await started.wait()

    step = in_it(bench, work)
    bench.wait(outcome[0])
    assert outcome[1] == 137
    with pytest.raises(Conflict, match="does not run"):
        bench.call(bench.engine.steps.join(step.id, ContainerProcess(args=("/bin/sh",)), Person(nothing)))


def test_another_program_that_is_not_there_is_said(bench: StepBench) -> None:
    async def work(identifier: str) -> None:
        with pytest.raises(CommandNotFound, match="/no/such"):
            await bench.engine.steps.join(identifier, ContainerProcess(args=("/no/such",)), Person(nothing))
        with pytest.raises(InvalidInput, match="more than 100000"):
            await bench.engine.steps.join(identifier, ContainerProcess(args=("x",) * 100_001), Person(nothing))

    in_it(bench, work)


def test_all_of_a_flood_comes_before_the_end(bench: StepBench) -> None:
    for console, size in ((PIPES, 1_000_000), (TERMINAL, 1_000_000)):
        result, seen = attend(bench, bench.step("head -c 1000000 /dev/zero | tr '\\0' x; exit 2"), nothing, console)
        assert (result.exit_code, len(seen)) == (2, size)
