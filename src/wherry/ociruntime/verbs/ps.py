"""``wherry-oci ps``: show a container's processes."""

from __future__ import annotations

import subprocess

from wherry.errors import Conflict, InvalidInput, SystemFault
from wherry.ociruntime.call import Call
from wherry.ociruntime.container import Container
from wherry.ociruntime.flags import parse
from wherry.ociruntime.group import pids

__all__ = ["ARGUMENTS", "FLAGS", "rows", "run"]

FLAGS = {"format": True}
ARGUMENTS = "ID [PS OPTION...]"


def run(call: Call, arguments: list[str]) -> int:
    """Print their numbers as JSON, or what ps(1) says of them."""
    flags, rest = parse(arguments, FLAGS, short={"f": "format"}, mixed=False)
    if not rest:
        raise InvalidInput('"ps" requires a container ID')
    form = flags.text("format", "table")
    if form not in ("table", "json"):
        raise InvalidInput(f"invalid format option {form!r}")
    with Container.open(call.root, rest[0], lock=False) as container:
        record = container.read()
    if record.status() == "stopped":
        raise Conflict("container not running")
    found = pids(record)
    if form == "json":
        print(f"[{','.join(map(str, found))}]")
        return 0
    try:
        done = subprocess.run(["ps", *(rest[1:] or ["-ef"])], capture_output=True, text=True, check=False)
    except OSError as error:
        raise SystemFault("the program ps cannot be executed", cause=error.strerror) from error
    if done.returncode:
        raise SystemFault("ps failed", cause=done.stderr.strip())
    print("\n".join(rows(done.stdout, set(found))))
    return 0


def rows(text: str, pids: set[int]) -> list[str]:
    """Return ps's heading, and its rows for some processes.

    :raises SystemFault: it shows no numbers.
    """
    heading, *lines = text.splitlines()
    names = heading.split()
    if "PID" not in names:
        raise SystemFault("ps shows no column PID")
    column = names.index("PID")
    return [heading, *(line for line in lines if _number(line.split(), column) in pids)]


def _number(fields: list[str], column: int) -> int:
    return int(fields[column]) if column < len(fields) and fields[column].isdigit() else -1
