"""Install what the tests need, run them part by part, and sum up: ``python3 tests/run.py all``.

A part that fails does not stop the ones after it; the exit status is 1 when anything failed. With ``CI`` set, a test
whose needs are not met fails instead of being skipped (``WHERRY_MUST_WORK=1``). Uses the standard library only.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import machine
from machine import ROOT

NOBODY = "65534"
LONGEST_PART = {"unit": 400, "kernel": 600, "e2e": 900, "vm": 900}
"""Seconds after which a part is ended; it has failed then."""
UNIT_MEMORY = 6 << 30
"""Bytes of address space of the unit tests: one that grows without bound fails, instead of the machine."""
SOURCES = ["src", "tests", "bench"]


class Result(NamedTuple):
    """What one part of the run came to."""

    part: str
    passed: int
    failed: int
    skipped: int
    seconds: float
    remark: str = ""


def main(arguments: list[str]) -> int:
    """Run the parts named in ``arguments``; gives the exit status."""
    if arguments == ["setup"]:
        prepare()
        return 0
    names = list(PARTS) if arguments == ["all"] else arguments
    if not names or not set(names) <= set(PARTS):
        print(f"usage: run.py setup | all | {' | '.join(PARTS)}", file=sys.stderr)
        return 2
    settle_environment()
    prepare()
    results = [result for name in names for result in timed(name)]
    return summary(results)


def settle_environment() -> None:
    """What every part inherits."""
    os.environ["PATH"] = machine.search_path()
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    for name in ("DOCKER_HOST", "WHERRY_HOST"):
        os.environ.pop(name, None)
    if os.environ.get("CI", "").lower() in ("1", "true", "yes"):
        os.environ.setdefault("WHERRY_MUST_WORK", "1")


def prepare() -> None:
    """Bring the machine and the virtual environment to where the tests can run."""
    missing = machine.install(machine.PACKAGES)
    if missing:
        print(f"not installed, and not root or no apt to install them: {' '.join(missing)}")
    if os.geteuid() == 0 and not machine.docker_client():
        print("no docker client here, and none to be had")
    machine.environment(sys.executable, ROOT / ".venv")


def timed(name: str) -> Iterator[Result]:
    """Run one part, say so, and put its time into what it gives."""
    started = time.monotonic()
    for result in PARTS[name]():
        now = time.monotonic()
        yield result._replace(seconds=now - started)
        started = now


def heading(text: str) -> None:
    """Say which part begins."""
    print(f"\n=== {text} ===", flush=True)


def summary(results: list[Result]) -> int:
    """Print a line per part and the sum, which is the last line; gives the exit status."""
    heading("summary")
    for result in results:
        verdict = "FAILED" if result.failed else "ok" if result.passed else "skipped"
        counts = f"{result.passed} passed, {result.failed} failed, {result.skipped} skipped"
        print(f"{result.part:<18} {verdict:<8} {counts:<42} {result.seconds:6.1f} s  {result.remark}".rstrip())
    passed, failed, skipped = (sum(result[column] for result in results) for column in (1, 2, 3))
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return 1 if failed or not passed else 0


# -- lint ---------------------------------------------------------------------------------------------------------


def lint() -> Iterator[Result]:
    """Linters and the type checker; each counts as one test."""
    present = [name for name in SOURCES if (ROOT / name).is_dir()]
    prose = [*present, "docs", *(path.name for path in ROOT.glob("*.md")), "Makefile", "pyproject.toml"]
    yield check("ruff", ["-m", "ruff", "check", *present])
    yield check("ruff format", ["-m", "ruff", "format", "--check", *present])
    yield check("mypy", ["-m", "mypy", "-p", "wherry", "-p", "bench"])
    yield check("codespell", ["-m", "codespell_lib", *prose])


def check(name: str, command: list[str]) -> Result:
    """Run one linter."""
    heading(name)
    done = subprocess.run([python(), *command], cwd=ROOT, check=False, stdin=subprocess.DEVNULL)
    good = done.returncode == 0
    return Result(name, int(good), int(not good), 0, 0.0)


# -- tests --------------------------------------------------------------------------------------------------------


def unit() -> Iterator[Result]:
    """The tests that need no rights: as an ordinary user, and on every other Python that is here."""
    yield run_tests(f"unit {version(python())}", python(), ["tests/unit"], ordinary_user=True)
    for number, interpreter in machine.other_pythons().items():
        inside = machine.environment(interpreter, ROOT / f".venv-{number}")
        yield run_tests(f"unit {number}", str(inside), ["tests/unit"], ordinary_user=True)


def kernel() -> Iterator[Result]:
    """The tests on this machine's kernel."""
    yield as_root("kernel", ["tests/kernel"])


def e2e() -> Iterator[Result]:
    """The daemon and its clients; on every other Python a sample as well."""
    yield as_root("e2e", ["tests/e2e"])


def vm() -> Iterator[Result]:
    """The kernel tests once more, in a virtual machine that has cgroup v2 only."""
    missing = machine.install(machine.VM_PACKAGES)
    if missing:
        yield unavailable("vm", f"needs {' '.join(missing)}")
        return
    heading("vm")
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory, "report.xml")
        command = [sys.executable, "-m", "tests.vm", "--python", python(), "--junit", str(report)]
        yield counted("vm", report, bounded(command, dict(os.environ), LONGEST_PART["vm"]))


def as_root(name: str, paths: list[str]) -> Result:
    """Run tests that need root, or say that they were skipped."""
    if os.geteuid() != 0:
        return unavailable(name, "needs root")
    return run_tests(name, python(), paths)


def unavailable(name: str, reason: str) -> Result:
    """A part that cannot run here: a failure where everything must work."""
    heading(f"{name}: not run: {reason}")
    must_work = os.environ.get("WHERRY_MUST_WORK") == "1"
    return Result(name, 0, int(must_work), int(not must_work), 0.0, f"not run: {reason}")


def run_tests(name: str, interpreter: str, paths: list[str], *, ordinary_user: bool = False) -> Result:
    """Run pytest on ``paths``."""
    heading(name)
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory, "report.xml")
        command = [interpreter, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *paths]
        environment = {**os.environ, "HYPOTHESIS_STORAGE_DIRECTORY": str(Path(directory, "hypothesis"))}
        remark = ""
        if ordinary_user and os.geteuid() == 0:
            Path(directory).chmod(0o777)
            prefix = as_nobody(interpreter)
            remark = "as nobody" if prefix else "as root: nobody cannot run this Python"
            environment.pop("WHERRY_MUST_WORK", None)  # what needs root runs in the other parts
            command = [*prefix, "prlimit", f"--as={UNIT_MEMORY}", *command]
            environment["HOME"] = directory
        status = bounded(command, environment, LONGEST_PART[name.partition(" ")[0]])
        return counted(name, report, status)._replace(remark=remark)


def bounded(command: list[str], environment: dict[str, str], seconds: float) -> int:
    """Run a command in a process group of its own; ends the whole group when it takes too long."""
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        print(f"ended after {seconds} s: {' '.join(command)}", flush=True)
        return 1
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


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


def counted(name: str, report: Path, status: int) -> Result:
    """The counts from a JUnit report; a run that ended without one, or with a status of its own, is a failure."""
    tests = failed = skipped = 0
    with suppress(FileNotFoundError, ET.ParseError):
        for suite in ET.parse(report).getroot().iter("testsuite"):
            tests += int(suite.get("tests", 0))
            failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
            skipped += int(suite.get("skipped", 0))
    if status != 0 and not failed:
        failed = 1
        tests += 1
    return Result(name, tests - failed - skipped, failed, skipped, 0.0)


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


PARTS: dict[str, Callable[[], Iterator[Result]]] = {
    "lint": lint,
    "unit": unit,
    "kernel": kernel,
    "e2e": e2e,
    "vm": vm,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
