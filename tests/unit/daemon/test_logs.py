"""The daemon's log is one line a record: time, level, message, key=value."""

from __future__ import annotations

import logging
import re
import subprocess
import sys

from wherry.daemon.logs import LineFormatter


def line(level: int, message: str, **extra: object) -> str:
    given = {"levelno": level, "levelname": logging.getLevelName(level), "msg": message}
    return LineFormatter().format(logging.makeLogRecord({**given, **extra}))


def test_a_line_has_time_level_message_and_values() -> None:
    text = line(logging.INFO, "listening", host="unix:///x", seconds=3)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info listening host=unix:///x seconds=3", text)


def test_values_with_spaces_are_quoted() -> None:
    assert line(logging.WARNING, "failed", error="not now", none="").endswith('warn failed error="not now" none=""')


def test_no_text_begins_a_line_or_steers_a_terminal() -> None:
    text = line(logging.INFO, "GET /a\n2026-01-01T00:00:00.000Z info forged\x1b[31m", path='/\u202e\r\n x="y')
    assert text.endswith(r'info GET /a\x0a2026-01-01T00:00:00.000Z info forged\x1b[31m path="/\u202e\x0d\x0a x=\"y"')


def test_a_text_without_end_is_cut() -> None:
    text = line(logging.INFO, "x\n" * 1_000_000, value="y" * 100_000)
    assert len(text) < 30_000
    assert "(1995904 more characters)" in text
    assert "(95904 more characters)" in text


def test_a_traceback_s_lines_are_set_in() -> None:
    error = ValueError("a\n2026-01-01T00:00:00.000Z info forged")
    text = line(logging.ERROR, "failed", exc_info=(ValueError, error, None))
    assert all(one.startswith("  | ") for one in text.splitlines()[1:])


def test_a_traceback_follows_its_line() -> None:
    try:
        {}["x"]
    except KeyError as error:
        text = line(logging.ERROR, "failed", exc_info=(type(error), error, error.__traceback__))
    assert text.splitlines()[0].endswith("error failed")
    assert text.splitlines()[-1] == "  | KeyError: 'x'"


def test_headers_of_clients_are_not_in_the_log() -> None:
    code = (
        "import logging, hpack; from wherry.daemon.logs import configure; configure('debug')\n"
        "hpack.Decoder().decode(hpack.Encoder().encode([('authorization', 'secret')]))\n"
        "logging.getLogger('wherry').debug('ours')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [one.split(" ", 1)[1] for one in done.stderr.splitlines()] == ["debug ours"]
