"""``wherry pull``: download an image from a registry."""

from __future__ import annotations

import sys

from wherry.cli.console import flush, write
from wherry.cli.exit import Exit
from wherry.cli.flags.parser import BOOL, STRING, Command, Flag
from wherry.cli.flags.platforms import check_platform
from wherry.cli.output.transfers import show_transfer
from wherry.cli.registry.credentials import auth_header
from wherry.docker.reference import full_name, repository_and_tag, split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] NAME[:TAG|@DIGEST]",
    "Pull (download) an image from a registry",
    (
        Flag("all-tags", "a", BOOL, "Download all tagged images in the repository"),
        Flag("disable-content-trust", "", BOOL, "Skip image verification", True, hidden=True),
        Flag("platform", "", STRING, "Platform of a multi-platform image (linux/arm64)"),
        Flag("quiet", "q", BOOL, "Suppress verbose output"),
    ),
    min_args=1,
    max_args=1,
    aliases="wherry image pull, wherry pull",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Pull the image and print its full name."""
    platform = check_platform(options["platform"])
    image = arguments[0]
    _, tag, digest = split(image)
    if options["all-tags"] and (tag or digest):
        raise Exit(1, "tag can't be used with --all-tags/-a")
    name, wanted = (full_name(image), "") if options["all-tags"] else repository_and_tag(image)
    if not (tag or digest or options["all-tags"] or options["quiet"]):
        write("Using default tag: latest\n")
        flush()
    messages = context.client.images.pull(name, wanted, platform=platform, headers=auth_header(image))
    show_transfer(messages, sys.stdout, quiet=options["quiet"])
    suffix = (f":{tag}" if tag else "") + f"@{digest}" if digest else f":{wanted}" if wanted else ""
    write("{}{}\n", full_name(image), suffix)
    return 0
