"""The program: ``python -m wherry.registry.server serve | gc | check``, which ``wherry registry`` runs."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wherry import legible
from wherry.distribution.client.addresses import is_loopback
from wherry.errors import NotFound, SystemFault, WherryError
from wherry.registry.server.settings import Settings, load, seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main", "parser"]

_FLAGS: dict[str, tuple[str, ...]] = {
    "addr": ("addr",),
    "root": ("root",),
    "workers": ("workers",),
    "read_only": ("read_only",),
    "tls_cert": ("tls", "certificate"),
    "tls_key": ("tls", "key"),
    "htpasswd": ("auth", "htpasswd"),
    "anonymous_read": ("auth", "anonymous_read"),
    "proxy": ("proxy", "upstream"),
    "engine": ("storage", "engine"),
    "access_log": ("log", "access"),
    "log_level": ("log", "level"),
}
"""Flag to its keys in the settings."""


def parser() -> argparse.ArgumentParser:
    """The command line; ``wherry registry`` has the same flags, with help."""
    root = argparse.ArgumentParser(prog="wherry registry", allow_abbrev=False)
    verbs = root.add_subparsers(dest="verb", required=True)
    for verb in ("serve", "gc", "check"):
        flags = verbs.add_parser(verb, allow_abbrev=False)
        flags.add_argument("--config", type=Path)
        flags.add_argument("--root")
        flags.add_argument("--log-level", choices=["debug", "info", "warning", "error"])
        if verb == "serve":
            for name in ("addr", "tls-cert", "tls-key", "htpasswd", "proxy", "engine", "access-log"):
                flags.add_argument(f"--{name}")
            flags.add_argument("--workers", type=int)
            flags.add_argument("--read-only", action="store_true", default=None)
            flags.add_argument("--anonymous-read", action="store_true", default=None)
        if verb == "gc":
            flags.add_argument("--dry-run", action="store_true")
            flags.add_argument("--untagged", action="store_true")
    return root


def settings_of(options: argparse.Namespace) -> Settings:
    """The settings that a command line asks for.

    :raises InvalidInput: there is something wrong with them.
    """
    given: dict[str, Any] = {}
    for flag, keys in _FLAGS.items():
        value = getattr(options, flag, None)
        if value is not None:
            table = given
            for name in keys[:-1]:
                table = table.setdefault(name, {})
            table[keys[-1]] = value
    if "htpasswd" in given.get("auth", {}) and options.config is None:
        given["auth"]["mode"] = "basic"
    if getattr(options, "untagged", False):
        given["gc"] = {"untagged": True}
    return load(options.config, given)


_LONGEST = 16384  # characters: what clients sent may be quoted in them


class LineFormatter(logging.Formatter):
    """One line a record, whatever a client's path or name holds; a traceback follows on lines of its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return legible.line(legible.bounded(super().formatMessage(record), _LONGEST))

    def formatException(self, ei: Any) -> str:
        """Return the traceback."""
        return f"  | {legible.lines(legible.bounded(super().formatException(ei), _LONGEST))}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line. :returns: the exit code."""
    options = parser().parse_args(arguments)
    try:
        settings = settings_of(options)
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(LineFormatter("%(asctime)s %(levelname)s %(message)s"))
        logging.basicConfig(level=settings.log.level.upper(), handlers=[handler])
        if options.verb == "serve":
            from wherry.registry.server import workers  # noqa: PLC0415 - the others don't listen

            _warn(settings)
            _warn_of_loose_files(settings)
            return workers.run(settings, lambda: settings_of(options))
        _require_root(settings)
        return asyncio.run(_gc(settings, dry=options.dry_run) if options.verb == "gc" else _check(settings))
    except WherryError as error:
        return _fail(error)
    except OSError as error:
        return _fail(SystemFault("the registry cannot run", cause=str(error)))


def _warn(settings: Settings) -> None:
    """Say so where anybody on the network may push."""
    is_open = settings.auth.mode == "none" and not settings.read_only and settings.proxy is None
    if is_open and not is_loopback(settings.addr.rpartition(":")[0].strip("[]")):
        logging.warning("whoever reaches %s may push and delete: --htpasswd FILE asks for a password", settings.addr)


def _warn_of_loose_files(settings: Settings) -> None:
    """Warn about secret files that every user can read."""
    named = [settings.auth.key, settings.auth.htpasswd]
    named += [settings.tls.key] if settings.tls else []
    named += [settings.proxy.password_file] if settings.proxy else []
    for path in filter(None, named):
        with suppress(OSError):
            if os.stat(path).st_mode & 0o004:
                logging.warning("'%s' can be read by everybody on this machine", path)


def _require_root(settings: Settings) -> None:
    """A mistyped directory is no empty registry.

    :raises NotFound: it is not there.
    """
    if settings.storage.type == "filesystem" and not Path(settings.root).is_dir():
        raise NotFound(f"there is no registry in {settings.root!r}", cause="no such directory")


def _fail(error: WherryError) -> int:
    sys.stderr.write(f"wherry registry: {legible.lines(str(error))}\n")
    return 1


async def _gc(settings: Settings, *, dry: bool) -> int:
    """Collect garbage once, also while a registry serves from the same storage."""
    from wherry.registry.server.catalog import Catalog  # noqa: PLC0415 - as above
    from wherry.registry.server.composition import garbage_collector, open_storage  # noqa: PLC0415 - loads HTTP

    storage = open_storage(settings)
    try:
        done = await garbage_collector(settings, Catalog(storage, seconds(settings.gc.grace))).run(dry=dry)
    finally:
        await storage.close()
    sys.stdout.write(f"{'would remove' if dry else 'removed'} {done}\n")
    return 0


async def _check(settings: Settings) -> int:
    """Read everything and compare it with its digest. :returns: 1 when something is damaged."""
    from wherry.registry.server.check import check  # noqa: PLC0415 - as above
    from wherry.registry.server.composition import open_storage  # noqa: PLC0415 - loads HTTP

    storage = open_storage(settings)
    problems = 0
    try:
        async for problem in check(storage):
            problems += 1
            sys.stdout.write(f"{legible.line(str(problem))}\n")
    finally:
        await storage.close()
    sys.stdout.write("nothing is damaged\n" if not problems else f"{problems} problems\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
