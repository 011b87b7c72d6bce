"""``wherry registry gc``: garbage collection of a registry's storage."""

from __future__ import annotations

from wherry.cli.flags.parser import BOOL, Command, Flag
from wherry.cli.registry.server import COMMON, exec_server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS]",
    "Garbage collection: remove blobs that no image needs; the registry may go on serving",
    (
        Flag("dry-run", "", BOOL, "Only show what would be removed"),
        Flag("untagged", "", BOOL, "Remove manifests that no tag and no index refers to, too"),
        *COMMON,
    ),
    max_args=0,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Collect once."""
    exec_server("gc", COMMAND, options)
