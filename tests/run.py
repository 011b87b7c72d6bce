"""Install what the tests need, run them part by part, and sum up: ``python3 tests/run.py all``, or ``quick``.

Parts run side by side, a few at a time; what each prints is shown whole and in order. A part that fails does not
stop the others; the exit status is 1 when anything failed. Tests that measured time while the machine was in use, and
skipped themselves, run again when everything else is over. With ``CI`` set, a test whose needs are not met fails
instead of being skipped (``WHERRY_MUST_WORK=1``). Uses the standard library only.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue
from typing import IO

import cgroup2
import machine
from machine import ROOT
from quiet import NOT_QUIET, Use
from vm import chosen

NOBODY = "65534"
LONGEST_PART = 60 * 60
"""Seconds after which a part is ended; it has failed then. On a quiet machine the longest takes a tenth of it."""
LONGEST_RUN = 80 * 60
"""Seconds after which whatever still runs is ended: CI gives 90 minutes, and is to learn what failed."""
PATIENCE = 60
"""Seconds that a part gets, when it has to end, to leave nothing behind: daemons, containers, networks."""
UNIT_MEMORY = 6 << 30
"""Bytes of address space of the unit tests: one that grows without bound fails, instead of the machine."""
SOURCES = ["src", "tests", "bench"]
QUICK = ("lint", "unit")
"""What needs no rights and no network once all is installed; the tests on as many processes as there are processors.
Those marked ``slow`` are left out: one in a hundred, which take half of the time."""
AT_ONCE = 3
"""Parts that run side by side, whatever they use: the virtual machine, which has one processor nearly for itself, and
two that wait a lot. Everything that a part changes on the machine is its own: daemons, cgroups, tables, interfaces,
ports."""
IDLE = 1 / 4
"""The share of the processors' time that is left over when one part more begins."""
LOOK = 5
"""Seconds over which that is measured."""
ORDER = ("vm", "e2e", "attack", "unit", "kernel", "cgroup2", "lint", "others")
"""In which they begin: what takes long, and waits a lot, is first. The last takes as many processors as there are, so
that none is idle at the end."""


@dataclass(frozen=True)
class Step:
    """A command that is to be run.

    :ivar report: where it writes its JUnit report; without one the command counts as one test.
    :ivar refused: why it cannot run here.
    """

    name: str
    command: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    report: Path | None = None
    remark: str = ""
    refused: str = ""


@dataclass(frozen=True)
class Result:
    """What one step came to.

    :ivar again: the tests that skipped themselves because the machine was not quiet.
    """

    step: Step
    passed: int
    failed: int
    skipped: int
    seconds: float = 0.0
    again: tuple[str, ...] = ()


def main(arguments: list[str]) -> int:
    """Run the parts named in ``arguments``; gives the exit status."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # nothing is to be left behind then, either
    if arguments == ["setup"]:
        prepare([])
        return 0
    names = {"all": list(PARTS), "quick": list(QUICK)}.get(" ".join(arguments), arguments)
    if not names or not set(names) <= set(PARTS):
        print(f"usage: run.py setup | all | quick | {' | '.join(PARTS)}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    settle_environment()
    prepare(names)
    with tempfile.TemporaryDirectory(prefix="tests-") as directory:
        run = Run(Path(directory), (os.cpu_count() or 1) if arguments == ["quick"] else 0)
        results = run.side_by_side(names) if len(names) > 1 else [run.step(step) for step in PARTS[names[0]](run)]
        if len(names) > 1:
            results = [again for result in results for again in run.repeated(result)]
    return summary(results)


def settle_environment() -> None:
    """What every part inherits."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has its background jobs ignore it
    os.environ["PATH"] = machine.search_path()
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    for name in ("DOCKER_HOST", "WHERRY_HOST"):
        os.environ.pop(name, None)
    if os.environ.get("CI", "").lower() in ("1", "true", "yes"):
        os.environ.setdefault("WHERRY_MUST_WORK", "1")


def prepare(names: Sequence[str]) -> None:
    """Bring the machine and the virtual environment to where these parts can run.

    While pip is at work on one processor, apt fetches the rest.
    """
    machine.install({name: present for name, present in machine.PACKAGES.items() if name == "python3-venv"})
    with ThreadPoolExecutor() as pool:
        made = pool.submit(development_environment)
        if os.geteuid() == 0 and "e2e" in names:
            pool.submit(machine.fetch_receivers)
        install_packages(names)
    made.result()
    for directory in ("src", "tests/support"):
        machine.compiled(Path(python()), ROOT / directory)
    if tuple(names) == QUICK:  # there each process collects all of them
        machine.rewritten(Path(python()), [str(path) for path in (ROOT / "tests/unit").rglob("test_*.py")])


def install_packages(names: Sequence[str]) -> None:
    """Install with apt what these parts need, and say what cannot be had."""
    missing = machine.install(machine.PACKAGES)
    if missing:
        print(f"not installed, and not root or no apt to install them: {' '.join(missing)}")
    if os.geteuid() == 0 and not machine.docker_client():
        print("no docker client here, and none to be had")
    if "vm" in names and not machine.install(machine.VM_PACKAGES):
        subprocess.run([sys.executable, "-m", "tests.vm.kernel"], cwd=ROOT, check=False)


def development_environment() -> Path:
    """The environment that `./wherry` and the tests use; gives its interpreter.

    It is made with the fastest of the builds that are here of the Python that runs this: the tests are nearly all
    Python, and took a fifth longer with the first one in PATH.
    """
    chosen = sys.executable
    if not Path(python()).exists():
        words = [str(ROOT / "packaging/choose-python"), sys.executable]
        chosen = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    return machine.environment(chosen, ROOT / ".venv")


def heading(text: str) -> None:
    """Say which part begins."""
    print(f"\n=== {text} ===", flush=True)


def summary(results: list[Result]) -> int:
    """Print a line per step and the sum, which is the last line; gives the exit status."""
    heading("summary")
    for result in results:
        verdict = "FAILED" if result.failed else "ok" if result.passed else "skipped"
        counts = f"{result.passed} passed, {result.failed} failed, {result.skipped} skipped"
        print(
            f"{result.step.name:<18} {verdict:<8} {counts:<42} {result.seconds:6.1f} s  {result.step.remark}".rstrip()
        )
    passed = sum(result.passed for result in results)
    failed = sum(result.failed for result in results)
    print(f"{passed} passed, {failed} failed, {sum(result.skipped for result in results)} skipped", flush=True)
    return 1 if failed or not passed else 0


# -- running ------------------------------------------------------------------------------------------------------


class Run:
    """One run of some parts: its processes, and their end.

    :param directory: for output and reports; everybody may write there.
    :param workers: processes of each run of the unit tests; with 0 the only one is pytest itself.
    """

    def __init__(self, directory: Path, workers: int = 0) -> None:
        directory.chmod(0o1777)
        self.directory = directory
        self.workers = workers
        self._deadline = time.monotonic() + LONGEST_RUN
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._over = False

    def side_by_side(self, names: list[str]) -> list[Result]:
        """Run parts, some at a time; prints what each said when it has ended, in the order given."""
        done: dict[str, SimpleQueue[tuple[Result, Path] | None]] = {name: SimpleQueue() for name in names}
        results = []

        def part(name: str) -> None:
            try:
                for number, step in enumerate(PARTS[name](self)):
                    output = self.directory / f"{name}-{number}.out"
                    with output.open("wb") as file:
                        done[name].put((self.step(step, file), output))
            finally:
                done[name].put(None)

        with ThreadPoolExecutor(len(names) + 1) as pool:

            def begin() -> list[Future[None]]:
                parts: list[Future[None]] = []
                for name in sorted(names, key=ORDER.index):
                    wait_for_room(parts)
                    parts.append(pool.submit(part, name))
                return parts

            begun = pool.submit(begin)
            try:
                for name in names:
                    while (ended := done[name].get()) is not None:
                        show(*ended)
                        results.append(ended[0])
            finally:
                self.end()
        for ended_part in begun.result():
            ended_part.result()  # an error of this program's own
        return results

    def step(self, step: Step, output: IO[bytes] | None = None) -> Result:
        """Run one command.

        :param output: where its output goes; ours if it is not given.
        """
        if output is None:
            heading(f"{step.name}: not run: {step.refused}" if step.refused else step.name)
        if step.refused:
            must_work = os.environ.get("WHERRY_MUST_WORK") == "1"
            return Result(replace(step, remark=f"not run: {step.refused}"), 0, int(must_work), int(not must_work))
        began = time.monotonic()
        status = self._bounded(step, output)
        return counted(step, status, time.monotonic() - began)

    def _bounded(self, step: Step, output: IO[bytes] | None) -> int:
        """Run a command in a process group of its own; ends the whole group when it takes too long."""
        with self._lock:
            if self._over:
                return 1
            process = subprocess.Popen(
                step.command, cwd=ROOT, env={**os.environ, **step.environment}, stdin=subprocess.DEVNULL,
                stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
            self._running.add(process)
        seconds = max(0, min(LONGEST_PART, self._deadline - time.monotonic()))
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.write(output.fileno() if output else 1, f"\nended after {seconds:.0f} s: {step.name}\n".encode())
            return 1
        finally:
            interrupt([process])
            kill_group(process)
            process.wait()
            self._running.discard(process)

    def end(self) -> None:
        """End what runs and begin nothing more."""
        with self._lock:
            self._over = True
            running = list(self._running)
        interrupt(running)
        for process in running:
            kill_group(process)

    def repeated(self, result: Result) -> Iterator[Result]:
        """A result; and, where tests skipped themselves as the machine was not quiet, that of running these again."""
        yield replace(result, skipped=result.skipped - len(result.again), again=())
        if result.again:
            self._over = False
            report = self.directory / f"{len(list(self.directory.iterdir()))}.xml"
            options = [
                f"--junitxml={report}" if word.startswith("--junitxml=") else word for word in result.step.command
            ]
            paths = [word for word in options if word.startswith("tests/")]
            command = [word for word in options if word not in paths] + list(result.again)
            yield self.step(replace(result.step, name=f"{result.step.name}, again", command=command, report=report))


def wait_for_room(parts: Iterable[Future[None]]) -> None:
    """Wait until one part more may begin beside these: few of them run, or they leave processors idle."""
    while len(running := [part for part in parts if not part.done()]) >= AT_ONCE:
        use = Use()
        if not wait(running, LOOK, FIRST_COMPLETED).done and use.idle() >= IDLE:
            return


def show(result: Result, output: Path) -> None:
    """Print what a step said."""
    heading(f"{result.step.name}: {result.step.remark}" if result.step.refused else result.step.name)
    with output.open("rb") as file:
        shutil.copyfileobj(file, sys.stdout.buffer)
    sys.stdout.buffer.flush()


def interrupt(processes: Iterable[subprocess.Popen[bytes]]) -> None:
    """Interrupt processes as a terminal does, and give them time: tests end what they have started on the machine."""
    deadline = time.monotonic() + PATIENCE
    running = [process for process in processes if process.poll() is None]
    for process in running:
        process.send_signal(signal.SIGINT)
    for process in running:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0, deadline - time.monotonic()))


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """End a process that leads a group, with all of it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def counted(step: Step, status: int, seconds: float) -> Result:
    """The counts from a JUnit report; a run that ended without one, or with a status of its own, is a failure."""
    if step.report is None:
        return Result(step, int(status == 0), int(status != 0), 0, seconds)
    tests = failed = skipped = 0
    again: list[str] = []
    with suppress(FileNotFoundError, ET.ParseError):
        for suite in ET.parse(step.report).getroot().iter("testsuite"):
            tests += int(suite.get("tests", 0))
            failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
            skipped += int(suite.get("skipped", 0))
            again += [node(case) for case in suite.iter("testcase") if was_not_quiet(case)]
    if status != 0 and not failed:
        failed = 1
        tests += 1
    return Result(step, tests - failed - skipped, failed, skipped, seconds, tuple(again))


def was_not_quiet(case: ET.Element) -> bool:
    """Whether a test skipped itself because it measures time, and others used the machine."""
    skip = case.find("skipped")
    return skip is not None and NOT_QUIET in skip.get("message", "")


def node(case: ET.Element) -> str:
    """What pytest calls a test on its command line; the report has dots for everything."""
    words = case.get("classname", "").split(".")
    length = next(n for n in range(len(words), 0, -1) if Path(ROOT, *words[:n]).with_suffix(".py").is_file())
    return "::".join(["/".join(words[:length]) + ".py", *words[length:], case.get("name", "")])


# -- the parts ----------------------------------------------------------------------------------------------------


def lint(_: Run) -> Iterator[Step]:
    """Linters and the type checker; each counts as one test."""
    present = [name for name in SOURCES if (ROOT / name).is_dir()]
    prose = [*present, "docs", *(path.name for path in ROOT.glob("*.md")), "Makefile", "pyproject.toml"]
    yield Step("ruff", [python(), "-m", "ruff", "check", *present])
    yield Step("ruff format", [python(), "-m", "ruff", "format", "--check", *present])
    yield Step("mypy", [python(), "-m", "mypy", "-p", "wherry", "-p", "bench"])
    yield Step("codespell", [python(), "-m", "codespell_lib", *prose])


def unit(run: Run) -> Iterator[Step]:
    """The tests that need no rights, as an ordinary user."""
    yield as_user(run, python())


def others(run: Run) -> Iterator[Step]:
    """The same on every other Python that is here, but for the tests marked ``once``.

    These look at our pages and sources, or try for long what our own code does with the kernel, a disk or git: that is
    said when the first Python is through. This is the last part, so it takes all processors. Assertions are as they are
    written: to rewrite them twice takes longer than it helps, as the first Python tells nearly all of them, too.
    """
    options = ["-m", "not once", "-n", str(os.cpu_count() or 1), "--dist", "worksteal", "--assert=plain"]
    for number, interpreter in machine.other_pythons().items():
        try:
            made = machine.environment(interpreter, ROOT / f".venv-{number}", "test")
        except subprocess.CalledProcessError as error:
            yield Step(f"unit {number}", refused=f"its environment cannot be made: {error}")
        else:
            yield as_user(run, str(made), *options)


def kernel(run: Run) -> Iterator[Step]:
    """The tests on this machine's kernel; and those of the unit tests that ordinary users skip."""
    yield in_own_network(as_root(run, "kernel", "tests/kernel"))
    yield in_own_network(as_root(run, "unit as root", "tests/unit", "-m", "need"))


def e2e(run: Run) -> Iterator[Step]:
    """The daemon and its clients."""
    yield as_root(run, "e2e", "tests/e2e")


def attack(run: Run) -> Iterator[Step]:
    """What a hostile container, image, registry or client would do."""
    yield in_own_network(as_root(run, "attack", "tests/attack"))


def version_2(run: Run) -> Iterator[Step]:
    """What is different where cgroup version 2 alone is mounted, and needs no controller."""
    step = as_root(run, "cgroup2", *chosen.nodes(cgroup2.TESTS))
    yield replace(step, command=[*cgroup2.ALONE, *step.command]) if step.command else step


def vm(run: Run) -> Iterator[Step]:
    """What needs cgroup v2's controllers, or another kernel, in a virtual machine."""
    missing = machine.install(machine.VM_PACKAGES)
    if missing:
        yield Step("vm", refused=f"needs {' '.join(missing)}")
        return
    report = run.directory / "vm.xml"
    limit = ["--minutes", f"{LONGEST_PART / 60 - 1:.0f}"]
    command = [sys.executable, "-m", "tests.vm", "--python", python(), "--junit", str(report), *limit]
    yield Step("vm", [*sooner(), *command], {}, report)


def sooner() -> list[str]:
    """The words that give a command nearly a whole processor, where that is allowed: it is one thread, and the longest.

    Else it is the last part by far, and the other processor has nothing to do.
    """
    return ["nice", "-n", "-3"] if machine.works(["nice", "-n", "-3", "true"]) and os.geteuid() == 0 else []


def as_root(run: Run, name: str, *tests: str) -> Step:
    """Run tests that need root, or say why not."""
    if os.geteuid() != 0:
        return Step(name, refused="needs root")
    return pytest(run, name, python(), *tests)


def in_own_network(step: Step) -> Step:
    """The same where no other part's engines are seen."""
    return replace(step, command=[*machine.OWN_NETWORK, *step.command]) if step.command else step


def as_user(run: Run, interpreter: str, *options: str) -> Step:
    """Run the unit tests as an ordinary user, if one can be had."""
    step = pytest(run, f"unit {version(interpreter)}", interpreter, "tests/unit", *options)
    if run.workers:
        several = ["-n", str(run.workers), "--dist", "worksteal", "-m", "not slow"]
        step = replace(step, command=[*step.command, *several])
    if os.geteuid() != 0:
        return step
    home = run.directory / f"home-{version(interpreter)}"
    home.mkdir()
    home.chmod(0o777)
    prefix = as_nobody(interpreter)
    return replace(
        step,
        command=[*prefix, "prlimit", f"--as={UNIT_MEMORY}", *step.command],
        environment={**step.environment, "HOME": str(home), "WHERRY_MUST_WORK": "0"},  # what needs root runs elsewhere
        remark="as nobody" if prefix else "as root: nobody cannot run this Python",
    )


def pytest(run: Run, name: str, interpreter: str, *words: str) -> Step:
    """Run pytest on directories or tests, with options."""
    report = run.directory / f"{name.replace(' ', '-')}.xml"
    command = [interpreter, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *words]
    return Step(name, command, {"HYPOTHESIS_STORAGE_DIRECTORY": str(run.directory / f"{name}-hypothesis")}, report)


def as_nobody(interpreter: str) -> list[str]:
    """The words that, before a command, run it as an ordinary user; none when that user cannot run the interpreter.

    An interpreter under a home directory that others may not enter is shown to it in a mount namespace of its own.
    """
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"]
    asked = "import sys, os; os.execv(sys.executable, [sys.executable, '-c', 'import pytest'])"
    if machine.works([*drop, interpreter, "-c", asked]):
        return drop
    prefix = Path(answer(interpreter, "sys.base_prefix"))
    hidden = Path("/", *prefix.parts[1:2])  # "/root", "/home"
    if hidden == prefix:
        return []
    script = (
        'set -e; keep=$(mktemp -d); mount --bind "$1" "$keep"; mount -t tmpfs -o mode=755 tmpfs "$0"; '
        'mkdir -p "$1"; mount --move "$keep" "$1"; rmdir "$keep"; shift; exec "$@"'
    )
    shown = ["unshare", "--mount", "--propagation=private", "sh", "-c", script, str(hidden), str(prefix), *drop]
    return shown if machine.works([*shown, interpreter, "-c", asked]) else []


def python() -> str:
    """The interpreter of the development environment."""
    return str(ROOT / ".venv/bin/python")


def version(interpreter: str) -> str:
    """Its version, as "3.11"."""
    return answer(interpreter, "'%d.%d' % sys.version_info[:2]")


def answer(interpreter: str, expression: str) -> str:
    """What an interpreter prints for an expression about itself."""
    command = [interpreter, "-c", f"import sys; print({expression})"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


PARTS: dict[str, Callable[[Run], Iterator[Step]]] = {
    "lint": lint,
    "unit": unit,
    "others": others,
    "kernel": kernel,
    "e2e": e2e,
    "attack": attack,
    "cgroup2": version_2,
    "vm": vm,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
