"""A bound on time that is missed: a failure on a quiet machine, and to be tried again on one that others use."""

from __future__ import annotations

import sys
import time
import xml.etree.ElementTree as ET
from concurrent.futures import Future
from pathlib import Path

import pytest

import quiet
import run

HERE = "tests.unit.test_quiet"


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What the kernel says of the processors, busy and all: at a test's begin, and when the time was missed."""
    monkeypatch.delenv("WHERRY_VM", raising=False)
    values = [(1000, 5000), (1000, 5100)]
    remaining = iter(range(len(values)))
    monkeypatch.setattr(quiet, "_ticks", lambda: values[next(remaining)])
    monkeypatch.setattr(quiet, "_own_seconds", lambda: 0.0)
    return values


def test_who_is_in_time_goes_on() -> None:
    quiet.in_time(True, "nothing")


def test_a_miss_fails_on_a_quiet_machine(ticks: list[tuple[int, int]]) -> None:
    ticks[1] = (1030, 5100)
    quiet.begin()
    with pytest.raises(pytest.fail.Exception, match=r"quiet machine \(others use 30% of it\): it took 3 s"):
        quiet.in_time(False, "it took 3 s")


def test_a_miss_skips_on_a_machine_in_use_and_says_so(ticks: list[tuple[int, int]]) -> None:
    ticks[1] = (1090, 5100)
    quiet.begin()
    with pytest.raises(pytest.skip.Exception, match=rf"{quiet.NOT_QUIET}, others use 90% of it: it took 3 s"):
        quiet.in_time(False, "it took 3 s")


def test_what_the_test_itself_uses_is_no_excuse(ticks: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    used = iter((0.0, 100.0))
    monkeypatch.setattr(quiet, "_own_seconds", lambda: next(used))
    ticks[1] = (1090, 5100)
    quiet.begin()
    with pytest.raises(pytest.fail.Exception, match="quiet machine"):
        quiet.in_time(False, "it took 3 s")


def test_the_kernels_account_is_read() -> None:
    busy, every = quiet._ticks()
    assert 0 < busy <= every


def report(path: Path) -> Path:
    """One test that passed, one that was skipped for want of something, two that missed their time."""
    suite = ET.Element("testsuite", tests="4", skipped="3")
    for name, reason in (("ok", ""), ("dog", "no dog"), ("slow[a.b]", quiet.NOT_QUIET), ("late", quiet.NOT_QUIET)):
        case = ET.SubElement(suite, "testcase", classname=HERE + (".TestIt" if name == "late" else ""), name=name)
        if reason:
            ET.SubElement(case, "skipped", message=f"{reason}: so")
    ET.ElementTree(suite).write(path)
    return path


def test_tests_that_missed_their_time_run_again_and_count_once(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; path = next(word[11:] for word in sys.argv if word.startswith('--junitxml='));"
        'pathlib.Path(path).write_text(\'<testsuite tests="2" skipped="1"/>\'); print(sys.argv[1:])'
    )
    command = [sys.executable, "-c", program, "-q", f"--junitxml={report(tmp_path / 'one.xml')}", "tests/unit"]
    step = run.Step("unit 3", command, report=tmp_path / "one.xml")
    result = run.counted(step, 0, 1.0)
    late = ("tests/unit/test_quiet.py::slow[a.b]", "tests/unit/test_quiet.py::TestIt::late")
    assert (result.passed, result.failed, result.skipped, result.again) == (1, 0, 3, late)
    (tmp_path / "runs").mkdir()
    first, second = run.Run(tmp_path / "runs").repeated(result)
    assert (first.passed, first.skipped) == (1, 1)
    assert (second.step.name, second.passed, second.skipped) == ("unit 3, again", 1, 1)
    assert second.step.command[-2:] == list(late)
    assert "tests/unit" not in second.step.command


def test_parts_beside_each_other_are_shown_in_order_and_an_end_ends_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def part(name: str, *commands: str) -> object:
        return lambda _: (run.Step(f"{name}{n}", ["sh", "-c", command]) for n, command in enumerate(commands))

    flag = tmp_path / "flag"
    parts = {
        "a": part("a", f"until [ -e {flag} ]; do sleep 0.01; done; echo first"),
        "b": part("b", "false", f": >{flag}"),
    }
    monkeypatch.setattr(run, "PARTS", parts)
    monkeypatch.setattr(run, "ORDER", ("b", "a"))
    results = run.Run(tmp_path).side_by_side(["a", "b"])
    assert [(result.step.name, result.passed, result.failed) for result in results] == [
        ("a0", 1, 0),
        ("b0", 0, 1),
        ("b1", 1, 0),
    ]
    assert run.summary(results) == 1
    shown = capfd.readouterr().out
    assert shown.index("first") < shown.index("=== b0 ===")
    assert shown.splitlines()[-1] == "2 passed, 1 failed, 0 skipped"


@pytest.mark.slow
def test_what_takes_too_long_is_ended_with_all_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "LONGEST_PART", 1)
    step = run.Step("long", ["sh", "-c", f"sleep 1000 & echo $! >{tmp_path}/pid; wait"])
    result = run.Run(tmp_path).step(step)
    assert (result.passed, result.failed) == (0, 1)
    assert "ended after 1 s: long" in capfd.readouterr().out
    while process_state(int((tmp_path / "pid").read_text())) not in ("", "Z"):
        time.sleep(0.01)  # its end was ordered; pytest's own patience is enough


@pytest.mark.slow
def test_what_has_to_end_may_tidy_up_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "LONGEST_PART", 1)
    step = run.Step("tidy", ["sh", "-c", f"trap 'echo tidy >{tmp_path}/said; exit 3' INT; while :; do sleep 0.1; done"])
    result = run.Run(tmp_path).step(step)
    assert (result.passed, result.failed) == (0, 1)
    assert (tmp_path / "said").read_text() == "tidy\n"


def process_state(pid: int) -> str:
    """One letter of proc(5); nothing when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def test_one_part_more_begins_when_processors_are_idle_or_another_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = iter((0.0, 0.2, 0.5))
    monkeypatch.setattr(run, "LOOK", 0)
    monkeypatch.setattr(quiet.Use, "idle", lambda self: next(shares))
    parts: list[Future[None]] = [Future() for _ in range(run.AT_ONCE)]
    run.wait_for_room(parts)
    assert next(shares, None) is None
    parts[0].set_result(None)
    run.wait_for_room(parts)
