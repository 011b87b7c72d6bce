"""``wherry manifest create``: begin a list of images that a registry has."""

from __future__ import annotations

from wherry.cli.console import write
from wherry.cli.flags.parser import BOOL, Command, Flag
from wherry.cli.registry.credentials import auth_header
from wherry.cli.registry.manifest_lists import ManifestList, full_reference
from wherry.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "MANIFEST_LIST MANIFEST [MANIFEST...]",
    "Create a local manifest list for annotating and pushing to a registry",
    (
        Flag("amend", "a", BOOL, "Amend an existing manifest list"),
        Flag("insecure", "", BOOL, "Ignored: the daemon knows the insecure registries", hidden=True),
    ),
    min_args=2,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Ask the registry for each image, and keep what it is."""
    name, *images = arguments
    made = ManifestList(name)
    if made.is_there and not options["amend"]:
        raise InvalidInput("refusing to amend an existing manifest list with no --amend flag")
    for image in images:
        made.put(_member(context, image))
    made.write()
    write("Created manifest list {}\n", str(made.name))
    return 0


def _member(context: Context, image: str) -> dict[str, Any]:
    found = context.client.images.remote(image, headers=auth_header(image))
    if found["Digest"] != found["ManifestDigest"]:
        raise InvalidInput(f"{image} is a manifest list")
    config = found["Config"]
    given = {"architecture": "architecture", "os": "os", "variant": "variant", "os.version": "os.version"}
    platform = {key: config[member] for key, member in given.items() if config.get(member)}
    descriptor = {
        "mediaType": found["MediaType"], "size": found["Size"], "digest": found["Digest"], "platform": platform,
    }  # fmt: skip
    return {"Reference": str(full_reference(image)), "Descriptor": descriptor, "Manifest": found["Manifest"]}
