"""``wherry volume push``: a volume's files to a registry."""

from __future__ import annotations

import sys

from wherry.cli.console import write
from wherry.cli.exit import Exit
from wherry.cli.flags.parser import BOOL, Command, Flag
from wherry.cli.output.transfers import show_transfer
from wherry.cli.registry.credentials import auth_header
from wherry.docker.reference import full_name, split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] VOLUME[@SNAPSHOT] NAME[:TAG]",
    "Push (upload) the files of a volume, or of a snapshot, to a registry",
    (Flag("quiet", "q", BOOL, "Suppress verbose output"),),
    min_args=2,
    max_args=2,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Push it."""
    volume, reference = arguments
    _, tag, digest = split(reference)
    if digest:
        raise Exit(1, "cannot push a digest reference")
    if not (tag or options["quiet"]):
        write("Using default tag: latest\n")
    messages = context.client.volumes.push(volume, reference, headers=auth_header(reference))
    show_transfer(messages, sys.stdout, quiet=options["quiet"])
    if options["quiet"]:
        write("{}:{}\n", full_name(reference), tag or "latest")
    return 0
