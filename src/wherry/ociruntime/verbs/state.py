"""``wherry-oci state``: print a container's state."""

from __future__ import annotations

from wherry.ociruntime.call import Call, one_argument
from wherry.ociruntime.container import Container, state_text
from wherry.ociruntime.flags import parse

__all__ = ["ARGUMENTS", "FLAGS", "run"]

FLAGS: dict[str, bool] = {}
ARGUMENTS = "ID"


def run(call: Call, arguments: list[str]) -> int:
    """Print it, without waiting for who changes the container right now."""
    _, rest = parse(arguments, FLAGS)
    with Container.open(call.root, one_argument(rest, "state"), lock=False) as container:
        record = container.read()
    print(state_text(record, record.status()))
    return 0
