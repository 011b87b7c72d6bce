"""``wherry-oci start``: execute the program of a container that was created."""

from __future__ import annotations

from wherry.ociruntime.call import Call, one_argument
from wherry.ociruntime.container import Container
from wherry.ociruntime.flags import parse
from wherry.ociruntime.launching import start

__all__ = ["ARGUMENTS", "FLAGS", "run"]

FLAGS: dict[str, bool] = {}
ARGUMENTS = "ID"


def run(call: Call, arguments: list[str]) -> int:
    """Start it."""
    _, rest = parse(arguments, FLAGS)
    with Container.open(call.root, one_argument(rest, "start")) as container:
        start(container, container.read())
    return 0
