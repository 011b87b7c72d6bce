"""The program: from the command line to a daemon that answers, and to its end."""

from __future__ import annotations

import gc
import logging
import os
import resource
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from wherry import legible
from wherry.daemon import background, logs
from wherry.daemon.options import Options, parse
from wherry.errors import SystemFault, WherryError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherry.daemon.snapshot import Start


def run(arguments: Sequence[str], start: Start) -> int:
    """Run the daemon until it is asked to end.

    :param arguments: without the program's name.
    :param start: how this process began.
    :returns: the exit code: 0, or 1 after an error, which was written to standard error.
    """
    channel = background.Background(-1)
    try:
        options = parse(arguments)
        if options.validate:
            return _say_valid(options)
        _require_root()
        if options.daemonize:
            channel = background.go(options)
            start.map_again()
        _run(options, channel, start)
    except WherryError as error:
        return _fail(channel, error)
    except OSError as error:
        return _fail(channel, SystemFault("unable to start", cause=str(error)))
    finally:
        start.is_over()
    return 0


def _say_valid(options: Options) -> int:
    for text in options.settings.warnings:
        sys.stderr.write(f"WARNING: {legible.line(text)}\n")
    sys.stderr.write("configuration OK\n")
    return 0


def _fail(channel: background.Background, error: WherryError) -> int:
    channel.failed(str(error))
    sys.stderr.write(f"wherryd: {legible.lines(str(error))}\n")
    return 1


def _require_root() -> None:
    if os.geteuid() != 0:
        raise SystemFault("wherryd needs to be root", hint="start it with sudo, or as a service")


def _run(options: Options, channel: background.Background, start: Start) -> None:
    """Prepare the process, then serve."""
    gc.disable()  # until it answers: nearly all that is made until then stays, and looking it through is a fifth of it
    logs.configure(options.log_level, options.log_format)
    if options.settings.warnings:
        listed = "; ".join(options.settings.warnings)
        logging.getLogger("wherry.daemon").warning(
            "options of the configuration file have no effect", extra={"file": options.config_file, "options": listed}
        )
    os.environ.update(options.proxies)
    _raise_file_limit()
    _be_spared()
    os.umask(0o022)
    from wherry.daemon import startup  # noqa: PLC0415 - `--help` and a wrong flag need not load any of this

    with startup.acquire(options) as acquired:
        import asyncio  # noqa: PLC0415 - as above

        from wherry.daemon.aiohttp_server import defer_client  # noqa: PLC0415 - as above

        defer_client()
        from wherry.daemon.serve import serve  # noqa: PLC0415 - as above

        asyncio.run(serve(options, channel, acquired, start))
    logging.getLogger("wherry.daemon").info("ended")


def _raise_file_limit() -> None:
    """Take as many descriptors as the hard limit allows; every container needs a few."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _be_spared(score: int = -500) -> None:
    """Be no early victim when memory is short, as dockerd is none; containers get scores of their own.

    Without CAP_SYS_RESOURCE it stays as it is.

    :param score: see proc(5), ``oom_score_adj``; a lower one stays.
    """
    with suppress(OSError, ValueError), open("/proc/self/oom_score_adj", "r+", encoding="ascii") as file:
        if int(file.read()) > score:
            file.seek(0)
            file.write(str(score))
