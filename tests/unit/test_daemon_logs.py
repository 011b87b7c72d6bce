"""The daemon's log is one line a record: time, level, message, key=value."""

from __future__ import annotations

import logging
import re

from wherry.daemon.logs import LineFormatter


def line(level: int, message: str, **extra: object) -> str:
    given = {"levelno": level, "levelname": logging.getLevelName(level), "msg": message}
    return LineFormatter().format(logging.makeLogRecord({**given, **extra}))


def test_a_line_has_time_level_message_and_values() -> None:
    text = line(logging.INFO, "listening", host="unix:///x", seconds=3)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info listening host=unix:///x seconds=3", text)


def test_values_with_spaces_are_quoted() -> None:
    assert line(logging.WARNING, "failed", error="not now", none="").endswith('warn failed error="not now" none=""')


def test_a_traceback_follows_its_line() -> None:
    try:
        {}["x"]
    except KeyError as error:
        text = line(logging.ERROR, "failed", exc_info=(type(error), error, error.__traceback__))
    assert text.splitlines()[0].endswith("error failed")
    assert text.splitlines()[-1] == "KeyError: 'x'"
