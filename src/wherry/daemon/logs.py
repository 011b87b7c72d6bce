"""The daemon's own log: ``time level message key=value`` on standard error."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Final

from wherry import legible

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
}
_LONGEST: Final = 4096  # characters of a message, or a value: what callers sent may be quoted in it
_LONGEST_TRACEBACK: Final = 32768
_WORDS: Final = {logging.WARNING: "warn", logging.CRITICAL: "fatal"}
#: What every record has; everything else was given with ``extra=`` and is shown.
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class LineFormatter(logging.Formatter):
    """One line a record, whatever a caller's path or a registry's reason holds; a traceback follows, set in."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        level = _WORDS.get(record.levelno, record.levelname.lower())
        words = [_time(record.created), level, legible.line(legible.bounded(record.getMessage(), _LONGEST))]
        words += [f"{key}={_value(value)}" for key, value in vars(record).items() if key not in _STANDARD]
        text = " ".join(words)
        if not record.exc_info:
            return text
        traceback = legible.bounded(self.formatException(record.exc_info), _LONGEST_TRACEBACK)
        return f"{text}\n  | {legible.lines(traceback)}"


def _time(seconds: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1000):03d}Z"


def _value(value: object) -> str:
    text = legible.line(legible.bounded(str(value), _LONGEST))
    return '"{}"'.format(text.replace('"', '\\"')) if not text or any(one.isspace() for one in text) else text


class _NoRequest(logging.Filter):
    """What aiohttp says of bytes that are no request is for who debugs, and a line: any caller could fill the log."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if "HttpProcessingError" not in {kind.__name__ for kind in type(error).__mro__}:  # importing it takes a while
            return True
        record.levelno, record.levelname, record.exc_info = logging.DEBUG, "DEBUG", None
        record.msg, record.args = "refused what is no request", ()
        record.error = str(error)
        return logging.getLogger().isEnabledFor(logging.DEBUG)


class JsonFormatter(logging.Formatter):
    """One JSON object a record, with the members that dockerd's log has in that format: time, level, msg, and more."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object, in one line."""
        found = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        found |= {
            "level": _WORDS.get(record.levelno, record.levelname.lower()),
            "msg": legible.bounded(record.getMessage(), _LONGEST),
            "time": _time(record.created),
        }
        if record.exc_info:
            found["traceback"] = legible.bounded(self.formatException(record.exc_info), _LONGEST_TRACEBACK)
        return legible.in_json(json.dumps(found, default=lambda value: legible.bounded(str(value), _LONGEST)))


def configure(level: str, format: str = "text") -> None:
    """Begin to log.

    :param level: as `wherry.daemon.options.LOG_LEVELS` has it.
    :param format: ``text`` or ``json``.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if format == "json" else LineFormatter())
    logging.basicConfig(level=_LEVELS[level], handlers=[handler], force=True)
    logging.getLogger("aiohttp.server").addFilter(_NoRequest())
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.getLogger("hpack").setLevel(logging.WARNING)  # it tells of each bit of clients' headers
    logging.captureWarnings(True)


def set_level(level: str) -> None:
    """Log more, or less, from now on."""
    logging.getLogger().setLevel(_LEVELS[level])
