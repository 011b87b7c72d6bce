"""``wherry inspect``: everything about a container, an image, or whatever has that name."""

from __future__ import annotations

from wherry.cli.flags import BOOL, STRING, Command, Flag
from wherry.cli.inspection import print_inspected
from wherry.errors import InvalidInput, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] NAME|ID [NAME|ID...]",
    "Show everything about containers and images",
    (
        Flag("format", "f", STRING, "How to print: json, or a Go template"),
        Flag("size", "s", BOOL, "Count bytes, too"),
        Flag("type", "", STRING, "Only things of this kind: container, image, network or volume"),
    ),
    least=1,
)

KINDS = ("container", "image", "network", "volume")


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Show it. :returns: 1 when one was not found."""
    kind = options["type"]
    if kind and kind not in KINDS:
        raise InvalidInput(f'unknown type: "{kind}": must be one of "container", "image", "network" or "volume"')
    client = context.client

    def one_of(kind: str, ref: str) -> dict[str, Any]:
        if kind == "container":
            return client.containers.inspect(ref, size=options["size"])
        if kind == "image":
            return client.images.inspect(ref)
        from wherry.client.transport import escape

        return dict(client.json("GET", f"/{kind}s/{escape(ref)}"))

    def find(ref: str) -> dict[str, Any]:
        for candidate in (kind,) if kind else KINDS:
            try:
                return one_of(candidate, ref)
            except NotFound:
                if kind:
                    raise
        raise NotFound(f"Error: No such object: {ref}")

    return print_inspected(arguments, find, options["format"])
