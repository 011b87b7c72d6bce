"""``wherry-oci pause``: let a container's processes stand still."""

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
    """Pause it."""
    _, rest = parse(arguments, FLAGS)
    with Container.open(call.root, one_argument(rest, "pause")) as container:
        record = container.read()
        if record.status() not in ("running", "created"):
            raise Conflict("container not running")
        group_of(record).freeze()
    return 0
