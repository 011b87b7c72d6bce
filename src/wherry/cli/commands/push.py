"""``wherry push``: send an image to a registry."""

from __future__ import annotations

import sys

from wherry.cli.credentials import auth_header
from wherry.cli.flags import BOOL, STRING, Command, Flag
from wherry.cli.leave import Leave
from wherry.cli.reference import full_name, split
from wherry.cli.transfer_display import show_transfer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] NAME[:TAG]",
    "Send an image to a registry",
    (
        Flag("all-tags", "a", BOOL, "Send all tags of the repository"),
        Flag("disable-content-trust", "", BOOL, "Skip image signing", True, hidden=True),
        Flag("platform", "", STRING, "Only this platform's part (linux/arm64)"),
        Flag("quiet", "q", BOOL, "Don't show how it gets on"),
    ),
    least=1,
    most=1,
    aliases="wherry image push, wherry push",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Send it."""
    image = arguments[0]
    name, tag, digest = split(image)
    if digest:
        raise Leave(1, "cannot push a digest reference")
    if options["all-tags"] and tag:
        raise Leave(1, "tag can't be used with --all-tags/-a")
    if not (tag or options["all-tags"] or options["quiet"]):
        sys.stdout.write("Using default tag: latest\n")
    wanted = "" if options["all-tags"] else tag or "latest"
    messages = context.client.images.push(name, wanted, platform=options["platform"], headers=auth_header(image))
    show_transfer(messages, sys.stdout, quiet=options["quiet"])
    if options["quiet"]:
        sys.stdout.write(f"{full_name(image)}{f':{wanted}' if wanted else ''}\n")
    return 0
