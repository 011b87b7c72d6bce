"""``wherry manifest rm``: forget local manifest lists."""

from __future__ import annotations

from wherry.cli.flags.parser import Command
from wherry.cli.for_each import for_each
from wherry.cli.registry.manifest_lists import ManifestList

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "MANIFEST_LIST [MANIFEST_LIST...]",
    "Delete one or more manifest lists from local storage",
    (),
    min_args=1,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Remove them. :returns: 1 when one is not there."""
    return for_each(arguments, lambda name: ManifestList(name).remove(), result=None)
