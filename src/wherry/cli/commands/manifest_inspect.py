"""``wherry manifest inspect``: what a registry has under a name, without fetching it."""

from __future__ import annotations

import json
import sys

from wherry.cli.credentials import auth_header
from wherry.cli.flags import BOOL, STRING, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] IMAGE",
    "Show what a registry has under a name: the manifest or index as it is there",
    (
        Flag("insecure", "", BOOL, "Ignored: the daemon knows which registries may do without TLS", hidden=True),
        Flag("platform", "", STRING, "The manifest for this platform, not the index (linux/arm64)"),
        Flag("referrers", "", BOOL, "What refers to it instead: signatures, attestations"),
        Flag("verbose", "v", BOOL, "Everything: digest, index, manifest, configuration"),
    ),
    least=1,
    most=1,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Print it as JSON."""
    found = context.client.images.remote(
        arguments[0],
        platform=options["platform"],
        referrers=options["referrers"] or options["verbose"],
        headers=auth_header(arguments[0]),
    )
    shown = found["Manifest"] if options["platform"] else found["Document"]
    if options["verbose"]:
        shown = found
    elif options["referrers"]:
        shown = found["Referrers"]
    sys.stdout.write(json.dumps(shown, indent=4, ensure_ascii=False) + "\n")
    return 0
