"""``wherry volume create``: create a volume."""

from __future__ import annotations

from wherry.cli.console import write
from wherry.cli.flags.kinds import LABEL
from wherry.cli.flags.parser import MAP, STRING, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "create_body", "run"]

COMMAND = Command(
    "[OPTIONS] [VOLUME]",
    "Create a volume",
    (
        Flag("driver", "d", STRING, "Specify volume driver name", "local"),
        Flag("label", "", LABEL, "Set metadata for a volume"),
        Flag("name", "", STRING, "Specify volume name"),
        Flag("opt", "o", MAP, "Set driver specific options (key=value)"),
    ),
    max_args=1,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Create the volume and print its name."""
    write("{}\n", context.client.volumes.create(create_body(options, arguments))["Name"])
    return 0


def create_body(options: Options, arguments: list[str]) -> dict[str, Any]:
    """The body of ``POST /volumes/create``, as the ``docker`` command sends it.

    :raises wherry.errors.InvalidInput: there are two names.
    """
    name = options["name"]
    if name and arguments:
        from wherry.errors import InvalidInput

        raise InvalidInput(
            "conflicting options: cannot specify a volume-name through both --name and as a positional arg"
        )
    body: dict[str, Any] = {
        "Driver": options["driver"],
        "DriverOpts": dict(options["opt"]),
        "Labels": dict(options["label"]),
    }
    return {**body, "Name": arguments[0] if arguments else name} if arguments or name else body
