"""What a health check makes of a container, and when it is run next; what the image says completes what was asked."""

from __future__ import annotations

from typing import Any

import pytest

from wherry.docker.container_answers import Health, HealthReport, HealthStatus
from wherry.docker.container_requests import ContainerConfig, Healthcheck
from wherry.engine.create.image_defaults import with_image_defaults
from wherry.engine.lifecycle.health import Check, check_of, judge

SECOND = 1_000_000_000


def ended(code: int) -> HealthReport:
    return HealthReport(start="", end="", exit_code=code, output=str(code))


def told(check: Check, *codes: int, running: float = 100.0) -> Health:
    """The health after checks that ended so."""
    health = Health()
    for code in codes:
        judge(health, check, ended(code), running)
    return health


@pytest.mark.parametrize(
    ("codes", "status", "streak"),
    [
        ((), "starting", 0),
        ((0,), "healthy", 0),
        ((1, 1), "starting", 2),
        ((1, -1, 2), "unhealthy", 3),
        ((1, 1, 0), "healthy", 0),
        ((0, 1, 1), "healthy", 2),
        ((0, 1, 1, 1), "unhealthy", 3),
        ((1, 1, 1, 0), "healthy", 0),
    ],
)
def test_failures_in_a_row_count_and_one_success_suffices(codes: tuple[int, ...], status: str, streak: int) -> None:
    health = told(Check(("x",)), *codes)
    assert (health.status, health.failing_streak) == (status, streak)


def test_failures_do_not_count_while_it_starts() -> None:
    check = Check(("x",), start_period=10, retries=1)
    assert told(check, 1, 1, running=9.9).status is HealthStatus.STARTING
    assert told(check, 1, running=10).status is HealthStatus.UNHEALTHY
    assert told(check, 0, 1, running=9.9).status is HealthStatus.UNHEALTHY, "it had started"


def test_the_last_five_reports_are_kept() -> None:
    assert [report.exit_code for report in told(Check(("x",)), *range(9)).log] == [4, 5, 6, 7, 8]


def test_changes_of_the_status_are_told_and_nothing_else() -> None:
    health, check = Health(), Check(("x",), retries=2)
    assert [judge(health, check, ended(code), 1) for code in (1, 1, 1, 0, 0, 1)] == [
        False,
        True,
        False,
        True,
        False,
        False,
    ]


def test_while_it_starts_the_next_check_comes_sooner() -> None:
    check = Check(("x",), interval=30, start_period=10, start_interval=2)
    assert check.pause(HealthStatus.STARTING, 1) == 2
    assert check.pause(HealthStatus.STARTING, 11) == 30
    assert check.pause(HealthStatus.HEALTHY, 1) == 30


@pytest.mark.parametrize(
    ("wish", "argv"),
    [
        (None, None),
        (Healthcheck(), None),
        (Healthcheck(["NONE"]), None),
        (Healthcheck(["CMD"]), None),
        (Healthcheck(["ELSE", "x"]), None),
        (Healthcheck(["CMD", "test", "-e", "/x"]), ("test", "-e", "/x")),
        (Healthcheck(["CMD-SHELL", "exit 1"]), ("/bin/sh", "-c", "exit 1")),
    ],
)
def test_the_command_is_in_one_of_two_forms(wish: Healthcheck | None, argv: tuple[str, ...] | None) -> None:
    check = check_of(ContainerConfig(healthcheck=wish))
    assert (check.argv if check else None) == argv


def test_a_shell_of_ones_own_runs_the_command() -> None:
    check = check_of(ContainerConfig(shell=["/bin/ash", "-ec"], healthcheck=Healthcheck(["CMD-SHELL", "x"])))
    assert check
    assert check.argv == ("/bin/ash", "-ec", "x")


def test_what_is_not_said_is_as_in_docker() -> None:
    assert check_of(ContainerConfig(healthcheck=Healthcheck(["CMD", "x"]))) == Check(("x",), 30, 30, 0, 5, 3)
    wish = Healthcheck(["CMD", "x"], SECOND, 2 * SECOND, 9, 3 * SECOND, 4 * SECOND)
    assert check_of(ContainerConfig(healthcheck=wish)) == Check(("x",), 1, 2, 3, 4, 9)


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (None, Healthcheck(["CMD", "images"], 7, 8)),
        (Healthcheck(interval=5), Healthcheck(["CMD", "images"], 5, 8)),
        (Healthcheck(["CMD", "own"]), Healthcheck(["CMD", "own"], 7, 8)),
        (Healthcheck(["NONE"]), Healthcheck(["NONE"], 7, 8)),
    ],
)
def test_the_image_completes_what_was_asked(own: Healthcheck | None, expected: Healthcheck) -> None:
    config = ContainerConfig(healthcheck=own)
    image: dict[str, Any] = {"Healthcheck": {"Test": ["CMD", "images"], "Interval": 7, "Timeout": 8}}
    assert with_image_defaults(config, image).healthcheck == expected
