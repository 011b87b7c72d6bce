"""The log configuration of a container: what was asked for, checked, and completed with what the daemon has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.docker.container_requests import LogConfig
from wherry.engine.log_drivers.options import waits_when_full
from wherry.engine.log_drivers.table import driver_of, find_log_driver
from wherry.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wherry.engine.log_drivers.contract import LogDriver
    from wherry.engine.settings import Settings

__all__ = ["check_log_options", "effective", "effective_of", "log_config"]


def check_log_options(options: Mapping[str, str], driver: LogDriver) -> list[str]:
    """Check that a driver knows all options and can keep them; returns warnings for the client.

    :raises InvalidInput: one is unknown, or has no such value.
    :raises Unsupported: it is one of Docker's that is not done here.
    """
    for name, value in options.items():
        if name not in driver.checks:
            raise InvalidInput(f"unknown log opt {driver.quote}{name}{driver.quote} for {driver.title}")
        driver.checks[name](value)
    if "max-buffer-size" in options and driver.is_readable(options):
        return ["The log option max-buffer-size has no effect: output is written to disk at once."]
    return []


def log_config(asked: LogConfig | None, settings: Settings) -> LogConfig:
    """What was asked for, completed with what holds, so that ``inspect`` shows that a log is rotated.

    :raises InvalidInput: options that do not go together.
    """
    driver = find_log_driver((asked.type if asked else "") or settings.log_driver)
    options = (asked.config if asked else None) or {}
    if driver.is_spool:
        return LogConfig(driver.name, _asked(driver, settings, options))
    whole = effective(driver, settings, options)
    driver.check_all(whole)
    if "max-buffer-size" in options and waits_when_full(whole):
        raise InvalidInput("logger: max-buffer-size option is only supported with 'mode=non-blocking'")
    shown = whole if driver.shows_defaults else _asked(driver, settings, options)
    return LogConfig(driver.name, shown)


def effective(driver: LogDriver, settings: Settings, options: Mapping[str, str] | None = None) -> dict[str, str]:
    """The options that hold for a new container that has these: its own come first, the daemon's, then the driver's."""
    return {**driver.defaults, **_asked(driver, settings, options or {})}


def _asked(driver: LogDriver, settings: Settings, options: Mapping[str, str]) -> dict[str, str]:
    """As in Docker, the daemon's options are for the daemon's driver; but those of caches are for all that have one."""
    same = driver is find_log_driver(settings.log_driver)
    known = ((name, value) for name, value in settings.log_options.items() if name in driver.checks)
    return {**{name: value for name, value in known if same or name.startswith("cache-")}, **options}


def effective_of(config: LogConfig | None) -> dict[str, str]:
    """The options that hold for a container with this configuration: the daemon's are those of when it was created."""
    driver = driver_of(config)
    return {**driver.defaults, **((config.config if config else None) or {})}
