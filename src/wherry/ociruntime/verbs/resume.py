"""``wherry-oci resume``: let a paused container go on."""

from __future__ import annotations

from wherry.errors import Conflict
from wherry.ociruntime.call import Call, one_argument
from wherry.ociruntime.container import Container
from wherry.ociruntime.flags import parse
from wherry.ociruntime.group import group_of

__all__ = ["ARGUMENTS", "FLAGS", "run"]

FLAGS: dict[str, bool] = {}
ARGUMENTS = "ID"


def run(call: Call, arguments: list[str]) -> int:
    """Resume it."""
    _, rest = parse(arguments, FLAGS)
    with Container.open(call.root, one_argument(rest, "resume")) as container:
        record = container.read()
        if record.status() != "paused":
            raise Conflict("container not paused")
        group_of(record).thaw()
    return 0
