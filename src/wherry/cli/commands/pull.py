"""``wherry pull``: fetch an image from a registry."""

from __future__ import annotations

import sys

from wherry.cli.credentials import auth_header
from wherry.cli.flags import BOOL, STRING, Command, Flag
from wherry.cli.leave import Leave
from wherry.cli.reference import full_name, repository_and_tag, split
from wherry.cli.transfer_display import show_transfer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] NAME[:TAG|@DIGEST]",
    "Fetch an image from a registry",
    (
        Flag("all-tags", "a", BOOL, "Fetch all tags of the repository"),
        Flag("disable-content-trust", "", BOOL, "Skip image verification", True, hidden=True),
        Flag("platform", "", STRING, "Platform to choose from a multi-platform image (linux/arm64)"),
        Flag("quiet", "q", BOOL, "Don't show how it gets on"),
    ),
    least=1,
    most=1,
    aliases="wherry image pull, wherry pull",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Fetch it, and print its whole name."""
    image = arguments[0]
    _, tag, digest = split(image)
    if options["all-tags"] and (tag or digest):
        raise Leave(1, "tag can't be used with --all-tags/-a")
    name, wanted = (full_name(image), "") if options["all-tags"] else repository_and_tag(image)
    if not (tag or digest or options["all-tags"] or options["quiet"]):
        print("Using default tag: latest", flush=True)
    messages = context.client.images.pull(name, wanted, platform=options["platform"], headers=auth_header(image))
    show_transfer(messages, sys.stdout, quiet=options["quiet"])
    suffix = (f":{tag}" if tag else "") + f"@{digest}" if digest else f":{wanted}" if wanted else ""
    sys.stdout.write(f"{full_name(image)}{suffix}\n")
    return 0
