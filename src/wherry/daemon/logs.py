"""The daemon's own log: ``time level message key=value`` on standard error."""

from __future__ import annotations

import logging
import sys
import time
from typing import Final

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
}
_WORDS: Final = {logging.WARNING: "warn", logging.CRITICAL: "fatal"}
#: What every record has; everything else was given with ``extra=`` and is shown.
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class LineFormatter(logging.Formatter):
    """One line a record; a traceback follows on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        level = _WORDS.get(record.levelno, record.levelname.lower())
        words = [_time(record.created), level, record.getMessage()]
        words += [f"{key}={_value(value)}" for key, value in vars(record).items() if key not in _STANDARD]
        line = " ".join(words)
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _time(seconds: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1000):03d}Z"


def _value(value: object) -> str:
    text = str(value)
    return f'"{text}"' if not text or any(character.isspace() for character in text) else text


def configure(level: str) -> None:
    """Begin to log.

    :param level: as `wherry.daemon.options.LOG_LEVELS` has it.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=_LEVELS[level], handlers=[handler], force=True)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.captureWarnings(True)


def set_level(level: str) -> None:
    """Log more, or less, from now on."""
    logging.getLogger().setLevel(_LEVELS[level])
