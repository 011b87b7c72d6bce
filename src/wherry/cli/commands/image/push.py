"""``wherry push``: upload an image to a registry."""

from __future__ import annotations

import sys

from wherry.cli.console import write
from wherry.cli.exit import Exit
from wherry.cli.flags.parser import BOOL, STRING, Command, Flag
from wherry.cli.flags.platforms import check_platform
from wherry.cli.output.transfers import show_transfer
from wherry.cli.registry.credentials import auth_header
from wherry.docker.reference import full_name, split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] NAME[:TAG]",
    "Push (upload) an image to a registry",
    (
        Flag("all-tags", "a", BOOL, "Push all tags of the repository"),
        Flag("disable-content-trust", "", BOOL, "Skip image signing", True, hidden=True),
        Flag("platform", "", STRING, "Push only the manifest of this platform (linux/arm64)"),
        Flag("quiet", "q", BOOL, "Suppress verbose output"),
    ),
    min_args=1,
    max_args=1,
    aliases="wherry image push, wherry push",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Push the image."""
    platform = check_platform(options["platform"])
    image = arguments[0]
    name, tag, digest = split(image)
    if digest:
        raise Exit(1, "cannot push a digest reference")
    if options["all-tags"] and tag:
        raise Exit(1, "tag can't be used with --all-tags/-a")
    if not (tag or options["all-tags"] or options["quiet"]):
        write("Using default tag: latest\n")
    wanted = "" if options["all-tags"] else tag or "latest"
    messages = context.client.images.push(name, wanted, platform=platform, headers=auth_header(image))
    show_transfer(messages, sys.stdout, quiet=options["quiet"])
    if options["quiet"]:
        write("{}{}\n", full_name(image), f":{wanted}" if wanted else "")
    return 0
