"""``wherry registry gc``: remove what no image of a registry needs."""

from __future__ import annotations

from wherry.cli.flags import BOOL, Command, Flag
from wherry.cli.registry_server import COMMON, become

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS]",
    "Remove what no image of a registry needs; it may serve meanwhile",
    (
        Flag("dry-run", "", BOOL, "Only say what would be removed"),
        Flag("untagged", "", BOOL, "Remove manifests that no tag and no index names, too"),
        *COMMON,
    ),
    most=0,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Do it once."""
    become("gc", COMMAND, options)
