"""``wherry tag``: create a tag for an image."""

from __future__ import annotations

from wherry.cli.flags.parser import Command
from wherry.docker.reference import full_name, split
from wherry.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
    "Create a tag (a further name) TARGET_IMAGE for SOURCE_IMAGE",
    min_args=2,
    max_args=2,
    aliases="wherry image tag, wherry tag",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Create the tag."""
    _, tag, digest = split(arguments[1])
    if digest:
        raise InvalidInput("refusing to create a tag with a digest reference")
    name = full_name(arguments[1])
    path = name.partition("/")[2]
    if path.lower() != path:
        raise InvalidInput(
            f'Error parsing reference: "{arguments[1]}" is not a valid repository/tag: '
            f"invalid reference format: repository name ({path}) must be lowercase"
        )
    context.client.images.tag(arguments[0], name, tag or "latest")
    return 0
