"""``wherry context inspect``: detailed information on contexts."""

from __future__ import annotations

from wherry.cli.commands.context.show import in_use
from wherry.cli.daemon.contexts import DEFAULT, IN_MEMORY, Contexts
from wherry.cli.flags.common import OBJECT_FORMAT
from wherry.cli.flags.parser import Command
from wherry.cli.output.inspect import print_inspected

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] [CONTEXT] [CONTEXT...]", "Display detailed information on one or more contexts", (OBJECT_FORMAT,)
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Print them, by default the one in use. :returns: 1 when one was not found."""
    return print_inspected(arguments or [in_use(context)], _inspected, options["format"])


def _inspected(name: str) -> dict[str, Any]:
    store = Contexts()
    found = store.metadata(name)
    files = sorted(store.tls(name))
    places = (IN_MEMORY, IN_MEMORY) if name == DEFAULT else (store.metadata_path(name), store.tls_path(name))
    return {
        "Name": name,
        "Metadata": found.get("Metadata") or {},
        "Endpoints": found["Endpoints"],
        "TLSMaterial": {"docker": files} if files else {},
        "Storage": {"MetadataPath": places[0], "TLSPath": places[1]},
    }
