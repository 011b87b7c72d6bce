"""``wherry-oci create``: make a container, whose process waits to be started."""

from __future__ import annotations

from wherry.ociruntime.call import Call, one_argument
from wherry.ociruntime.flags import parse
from wherry.ociruntime.making import MAKING_FLAGS, make

__all__ = ["ARGUMENTS", "FLAGS", "run"]

FLAGS = MAKING_FLAGS
ARGUMENTS = "ID"


def run(call: Call, arguments: list[str]) -> int:
    """Make it."""
    flags, rest = parse(arguments, FLAGS, short={"b": "bundle"})
    made = make(call, flags, one_argument(rest, "create"), waits=True, detach=True)
    made.container.close()
    return 0
