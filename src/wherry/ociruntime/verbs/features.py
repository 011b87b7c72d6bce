"""``wherry-oci features``: print what this runtime knows of the specification."""

from __future__ import annotations

import json

from wherry.errors import InvalidInput
from wherry.ociruntime.call import Call
from wherry.ociruntime.flags import parse
from wherry.runtime.features import features

__all__ = ["ARGUMENTS", "FLAGS", "run"]

FLAGS: dict[str, bool] = {}
ARGUMENTS = ""


def run(call: Call, arguments: list[str]) -> int:
    """Print the document."""
    _, rest = parse(arguments, FLAGS)
    if rest:
        raise InvalidInput('"features" takes no arguments')
    print(json.dumps(features(), indent=4))
    return 0
