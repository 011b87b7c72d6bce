"""The startup snapshot of ``wherry`` (:mod:`wherry.startup`): what is in it, and where it is."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["become_template", "make_snapshot", "offer_snapshot"]

#: What the commands import that are called most. Not more: a module that starts threads or draws random numbers, or has
#: one that does, would spoil the snapshot.
_CLI = (
    "main dispatch context errors exit output.table terminal.session terminal.signals create.create flags.container "
    "flags.networks"
)
_COMMANDS = "run exec create start stop rm ls logs inspect"
_CLIENT = "client address containers codec stdcopy transport requests error_response"


def _entry(source: str) -> str:
    return f"{source}/wherry/cli/entry.py"


def offer_snapshot(source: str) -> None:
    """Make a snapshot, if it is time to.

    :param source: the directory that ``wherry`` is in.
    """
    from wherry.startup.cache import offer

    def command(place: str) -> list[str]:
        return [sys.executable, "-I", "-S", "-X", f"snapshot={place}", _entry(source)]

    offer(f"{source}/wherry/cli/__pycache__", "wherry", command, stale="stale" in sys._xoptions)


def make_snapshot(source: str, place: str) -> NoReturn:
    """Make the snapshot; this process leaves."""
    from wherry.startup.build import Program, make

    program = Program(
        interpreter=sys.executable,
        template=lambda base: ("-I", "-S", "-X", f"template={base}", _entry(source)),
        ordinary=("-I", "-S", _entry(source)),
        attempt=("-H", "unix:///dev/null/none", "run", "--rm", "image", "program"),
        status=125,
        answer=b"cannot connect to the wherry daemon",
    )
    make(program, place)


def become_template(source: str, base: int) -> None:
    """Import much, and stop; a process that is made of the snapshot returns from here."""
    names = [f"cli.{name}" for name in _CLI.split()]
    names += [f"cli.commands.container.{name}" for name in _COMMANDS.split()]
    names += [f"client.{name}" for name in _CLIENT.split()]
    for name in names:
        __import__(f"wherry.{name}")
    from wherry.startup.template import become

    become(base, (sys.executable, "-I", "-S", _entry(source)))
