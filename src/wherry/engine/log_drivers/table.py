"""The table of log drivers; `wherry.engine.log_drivers.contract` says what a new one is."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from wherry.engine.log_drivers.json_file import JSON_FILE
from wherry.engine.log_drivers.local import LOCAL
from wherry.engine.log_drivers.none import NONE
from wherry.errors import InvalidInput

if TYPE_CHECKING:
    from wherry.docker.container_requests import LogConfig
    from wherry.engine.log_drivers.contract import LogDriver, Sender, Subject

__all__ = ["LOG_DRIVERS", "driver_of", "find_log_driver", "sender_of"]

_HERE: Final = "wherry.engine.log_drivers"

LOG_DRIVERS: Final[dict[str, LogDriver | str]] = {
    "fluentd": "FLUENTD",
    "gelf": "GELF",
    "journald": "JOURNALD",
    JSON_FILE.name: JSON_FILE,
    LOCAL.name: LOCAL,
    NONE.name: NONE,
    "syslog": "SYSLOG",
}
"""The drivers by name; of one that few containers have, what it is called in its module, which is imported for it."""


def find_log_driver(name: str) -> LogDriver:
    """The driver that a request names.

    :raises InvalidInput: there is none of that name.
    """
    found = LOG_DRIVERS.get(name)
    if found is None:
        raise InvalidInput(f"logger: no log driver named '{name}' is registered")
    if isinstance(found, str):
        found = LOG_DRIVERS[name] = getattr(import_module(f"{_HERE}.{name}"), found)
        return find_log_driver(name)
    return found


def sender_of(driver: LogDriver, subject: Subject) -> Sender:
    """What sends the log of a container elsewhere."""
    module, _, name = driver.sender.partition(".")
    sender: Sender = getattr(import_module(f"{_HERE}.{module}"), name)(subject)
    return sender


def driver_of(config: LogConfig | None) -> LogDriver:
    """The driver of a container that there is; what another version has made is a log in segments, as any."""
    name = config.type if config else ""
    return find_log_driver(name) if name in LOG_DRIVERS else JSON_FILE
