"""Console script ``wherry``, as pip makes it; a clone's ``./wherry`` does the same with less."""

from __future__ import annotations

from wherry.startup.script import begin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Become the command line."""
    begin(__file__.rpartition("/")[0], "wherry", _here)


def _here() -> NoReturn:
    from wherry.cli.main import main as command

    command()
