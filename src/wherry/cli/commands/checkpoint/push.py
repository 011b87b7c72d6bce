"""``wherry checkpoint push``: a checkpoint to a registry."""

from __future__ import annotations

import sys

from wherry.cli.console import write
from wherry.cli.exit import Exit
from wherry.cli.flags.parser import BOOL, STRING, Command, Flag
from wherry.cli.output.transfers import show_transfer
from wherry.cli.registry.credentials import auth_header
from wherry.docker.reference import full_name, split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] CONTAINER CHECKPOINT NAME[:TAG]",
    "Push (upload) a checkpoint to a registry",
    (
        Flag("checkpoint-dir", "", STRING, "Use a custom checkpoint storage directory"),
        Flag("quiet", "q", BOOL, "Suppress verbose output"),
    ),
    min_args=3,
    max_args=3,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Push it."""
    container, name, reference = arguments
    _, tag, digest = split(reference)
    if digest:
        raise Exit(1, "cannot push a digest reference")
    if not (tag or options["quiet"]):
        write("Using default tag: latest\n")
    messages = context.client.checkpoints.push(
        container, name, reference, directory=options["checkpoint-dir"], headers=auth_header(reference)
    )
    show_transfer(messages, sys.stdout, quiet=options["quiet"])
    if options["quiet"]:
        write("{}:{}\n", full_name(reference), tag or "latest")
    return 0
