"""Console script ``wherry-oci``, as pip makes it; a clone's ``./wherry-oci`` does the same with less."""

from __future__ import annotations

from wherry.startup.script import begin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Become the command."""
    begin(__file__.rpartition("/")[0], "wherry-oci", _here)


def _here() -> NoReturn:
    from wherry.ociruntime.main import main as command  # noqa: PLC0415  what is executed instead imports less

    command()
