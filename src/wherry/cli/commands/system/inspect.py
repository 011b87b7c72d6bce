"""``wherry inspect``: low-level information on containers, images and networks."""

from __future__ import annotations

from wherry.cli.flags.common import OBJECT_FORMAT
from wherry.cli.flags.parser import BOOL, STRING, Command, Flag
from wherry.cli.output.inspect import print_inspected
from wherry.errors import InvalidInput, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] NAME|ID [NAME|ID...]",
    "Return low-level information on containers, images and networks",
    (
        OBJECT_FORMAT,
        Flag("size", "s", BOOL, "Display total file sizes of containers"),
        Flag("type", "", STRING, "Only inspect objects of this type: container, image, network or volume"),
    ),
    min_args=1,
)

KINDS = ("container", "image", "network", "volume")


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Print the objects. :returns: 1 when one was not found."""
    kind = options["type"]
    if kind and kind not in KINDS:
        raise InvalidInput(f'unknown type: "{kind}": must be one of "container", "image", "network" or "volume"')

    def one_of(kind: str, ref: str) -> dict[str, Any]:
        if kind == "container":
            return context.client.containers.inspect(ref, size=options["size"])
        if kind == "image":
            return context.client.images.inspect(ref)
        from wherry.client.transport import escape

        return dict(context.client.json("GET", f"/{kind}s/{escape(ref)}"))

    def find(ref: str) -> dict[str, Any]:
        for candidate in (kind,) if kind else KINDS:
            try:
                return one_of(candidate, ref)
            except NotFound:
                if kind:
                    raise
        raise NotFound(f"Error: No such object: {ref}")

    return print_inspected(arguments, find, options["format"])
