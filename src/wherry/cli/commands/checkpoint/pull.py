"""``wherry checkpoint pull``: make a checkpoint of what was pushed to a registry."""

from __future__ import annotations

import sys

from wherry.cli.console import flush, write
from wherry.cli.flags.parser import BOOL, STRING, Command, Flag
from wherry.cli.output.transfers import show_transfer
from wherry.cli.registry.credentials import auth_header
from wherry.docker.reference import split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] NAME[:TAG|@DIGEST] CONTAINER CHECKPOINT",
    "Make a checkpoint of what 'checkpoint push' has sent to a registry",
    (
        Flag("checkpoint-dir", "", STRING, "Use a custom checkpoint storage directory"),
        Flag("quiet", "q", BOOL, "Suppress verbose output"),
    ),
    min_args=3,
    max_args=3,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Pull it."""
    reference, container, name = arguments
    _, tag, digest = split(reference)
    if not (tag or digest or options["quiet"]):
        write("Using default tag: latest\n")
        flush()
    messages = context.client.checkpoints.pull(
        reference, container, name, directory=options["checkpoint-dir"], headers=auth_header(reference)
    )
    show_transfer(messages, sys.stdout, quiet=options["quiet"])
    write("{}\n", name)
    return 0
