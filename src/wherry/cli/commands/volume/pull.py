"""``wherry volume pull``: make a volume of what was pushed to a registry."""

from __future__ import annotations

import sys

from wherry.cli.console import flush, write
from wherry.cli.flags.kinds import LABEL
from wherry.cli.flags.parser import BOOL, Command, Flag
from wherry.cli.output.transfers import show_transfer
from wherry.cli.registry.credentials import auth_header
from wherry.docker.reference import split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] NAME[:TAG|@DIGEST] NEW",
    "Make a new volume of what 'volume push' has sent to a registry",
    (
        Flag("label", "", LABEL, "Set metadata for the new volume"),
        Flag("quiet", "q", BOOL, "Suppress verbose output"),
    ),
    min_args=2,
    max_args=2,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Make it and print its name."""
    reference, new = arguments
    _, tag, digest = split(reference)
    if not (tag or digest or options["quiet"]):
        write("Using default tag: latest\n")
        flush()
    labels = dict(options["label"])
    messages = context.client.volumes.pull(reference, new, labels, headers=auth_header(reference))
    show_transfer(messages, sys.stdout, quiet=options["quiet"])
    write("{}\n", new)
    return 0
