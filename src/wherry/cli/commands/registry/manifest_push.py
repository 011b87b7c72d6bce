"""``wherry manifest push``: a local manifest list becomes an index at its registry."""

from __future__ import annotations

from wherry.cli.console import write
from wherry.cli.flags.parser import BOOL, Command, Flag
from wherry.cli.registry.credentials import auth_header
from wherry.cli.registry.manifest_lists import ManifestList

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] MANIFEST_LIST",
    "Push a manifest list to a repository",
    (
        Flag("insecure", "", BOOL, "Ignored: the daemon knows the insecure registries", hidden=True),
        Flag("purge", "p", BOOL, "Remove the local manifest list after push"),
    ),
    min_args=1,
    max_args=1,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Have the daemon make it, and print its digest."""
    found = ManifestList(arguments[0])
    found.require()
    images = [
        {"Reference": f"{one['Reference'].partition('@')[0]}@{one['Descriptor']['digest']}",
         "Platform": one["Descriptor"]["platform"]}
        for one in found.members
    ]  # fmt: skip
    pushed = context.client.images.push_list(str(found.name), images, headers=auth_header(str(found.name)))
    if options["purge"]:
        found.remove()
    write("{}\n", pushed["digest"])
    return 0
