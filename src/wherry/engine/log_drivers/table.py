"""The table of log drivers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wherry.engine.log_drivers.json_file import JSON_FILE
from wherry.engine.log_drivers.local import LOCAL
from wherry.engine.log_drivers.none import NONE
from wherry.errors import InvalidInput

if TYPE_CHECKING:
    from wherry.docker.container_requests import LogConfig
    from wherry.engine.log_drivers.contract import LogDriver

__all__ = ["LOG_DRIVERS", "driver_of", "find_log_driver"]

LOG_DRIVERS: Final[dict[str, LogDriver]] = {driver.name: driver for driver in (JSON_FILE, LOCAL, NONE)}


def find_log_driver(name: str) -> LogDriver:
    """The driver that a request names.

    :raises InvalidInput: there is none of that name.
    """
    found = LOG_DRIVERS.get(name)
    if found is None:
        raise InvalidInput(f"logger: no log driver named '{name}' is registered")
    return found


def driver_of(config: LogConfig | None) -> LogDriver:
    """The driver of a container that there is; what another version has made is a log in segments, as any."""
    return LOG_DRIVERS.get(config.type if config else "", JSON_FILE)
