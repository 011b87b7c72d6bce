"""The program: ``python -m wherry.registry.server serve | gc | check``, which ``wherry registry`` runs."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wherry.errors import NotFound, SystemFault, WherryError
from wherry.registry.client.addresses import is_loopback
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
"""Flag -> its place in the settings."""


def parser() -> argparse.ArgumentParser:
    """The command line; ``wherry registry`` has the same flags, with help."""
    told = argparse.ArgumentParser(prog="wherry registry", allow_abbrev=False)
    verbs = told.add_subparsers(dest="verb", required=True)
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
    return told


def settings_of(told: argparse.Namespace) -> Settings:
    """The settings that a command line asks for.

    :raises InvalidInput: there is something wrong with them.
    """
    given: dict[str, Any] = {}
    for flag, place in _FLAGS.items():
        value = getattr(told, flag, None)
        if value is not None:
            table = given
            for name in place[:-1]:
                table = table.setdefault(name, {})
            table[place[-1]] = value
    if "htpasswd" in given.get("auth", {}) and told.config is None:
        given["auth"]["mode"] = "basic"
    if getattr(told, "untagged", False):
        given["gc"] = {"untagged": True}
    return load(told.config, given)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line. :returns: the exit code."""
    told = parser().parse_args(arguments)
    try:
        settings = settings_of(told)
        logging.basicConfig(
            level=settings.log.level.upper(), format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
        )
        if told.verb == "serve":
            from wherry.registry.server import workers  # noqa: PLC0415 - the others don't listen

            _warn(settings)
            return workers.run(settings, lambda: settings_of(told))
        _require_root(settings)
        return asyncio.run(_gc(settings, dry=told.dry_run) if told.verb == "gc" else _check(settings))
    except WherryError as error:
        return _fail(error)
    except OSError as error:
        return _fail(SystemFault("the registry cannot run", cause=str(error)))


def _warn(settings: Settings) -> None:
    """Say so where anybody on the network may push."""
    is_open = settings.auth.mode == "none" and not settings.read_only and settings.proxy is None
    if is_open and not is_loopback(settings.addr.rpartition(":")[0].strip("[]")):
        logging.warning("whoever reaches %s may push and delete: --htpasswd FILE asks for a password", settings.addr)


def _require_root(settings: Settings) -> None:
    """A mistyped directory is no empty registry.

    :raises NotFound: it is not there.
    """
    if settings.storage.type == "filesystem" and not Path(settings.root).is_dir():
        raise NotFound(f"there is no registry in {settings.root!r}", cause="no such directory")


def _fail(error: WherryError) -> int:
    sys.stderr.write(f"wherry registry: {error}\n")
    return 1


async def _gc(settings: Settings, *, dry: bool) -> int:
    """Collect garbage once; a registry that serves from the same storage may go on meanwhile."""
    from wherry.registry.server.assembly import collector, open_storage  # noqa: PLC0415 - loads HTTP
    from wherry.registry.server.catalog import Catalog  # noqa: PLC0415 - as above

    storage = open_storage(settings)
    try:
        done = await collector(settings, Catalog(storage, seconds(settings.gc.grace))).run(dry=dry)
    finally:
        await storage.close()
    sys.stdout.write(f"{'would remove' if dry else 'removed'} {done}\n")
    return 0


async def _check(settings: Settings) -> int:
    """Read everything and compare it with its digest. :returns: 1 when something is damaged."""
    from wherry.registry.server.assembly import open_storage  # noqa: PLC0415 - loads HTTP
    from wherry.registry.server.check import check  # noqa: PLC0415 - as above

    storage = open_storage(settings)
    problems = 0
    try:
        async for problem in check(storage):
            problems += 1
            sys.stdout.write(f"{problem}\n")
    finally:
        await storage.close()
    sys.stdout.write("nothing is damaged\n" if not problems else f"{problems} problems\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
