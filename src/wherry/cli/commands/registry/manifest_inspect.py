"""``wherry manifest inspect``: the manifest or index of an image in a registry, without pulling it.

A manifest list that is being put together here is shown before it is pushed.
"""

from __future__ import annotations

import json

from wherry import legible
from wherry.cli.console import write_raw
from wherry.cli.flags.parser import BOOL, STRING, Command, Flag
from wherry.cli.flags.platforms import check_platform
from wherry.cli.registry.credentials import auth_header
from wherry.cli.registry.manifest_lists import ManifestList

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] [MANIFEST_LIST] MANIFEST",
    "Display an image manifest, or an index (manifest list), from a registry, or of a local list",
    (
        Flag("insecure", "", BOOL, "Ignored: the daemon knows the insecure registries", hidden=True),
        Flag("platform", "", STRING, "Show the manifest of this platform, not the index (linux/arm64)"),
        Flag("referrers", "", BOOL, "Show the referrers instead: signatures, attestations"),
        Flag("verbose", "v", BOOL, "Output additional info: digest, index, manifest, configuration"),
    ),
    min_args=1,
    max_args=2,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Print the manifest or index as JSON."""
    here = ManifestList(arguments[0])
    if len(arguments) > 1:
        here.require()
        _print(here.member(arguments[1])["Manifest"])
        return 0
    if here.is_there and not (options["platform"] or options["referrers"] or options["verbose"]):
        _print(here.document())
        return 0
    found = context.client.images.remote(
        arguments[0],
        platform=check_platform(options["platform"]),
        referrers=options["referrers"] or options["verbose"],
        headers=auth_header(arguments[0]),
    )
    wanted = found["Manifest"] if options["platform"] else found["Document"]
    if options["verbose"]:
        wanted = found
    elif options["referrers"]:
        wanted = found["Referrers"]
    _print(wanted)
    return 0


def _print(wanted: object) -> None:
    write_raw(legible.in_json(json.dumps(wanted, indent=4, ensure_ascii=False)) + "\n")
