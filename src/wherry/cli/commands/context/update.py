"""``wherry context update``: change a context."""

from __future__ import annotations

from wherry.cli.commands.context.create import DESCRIPTION, DOCKER, read_endpoint
from wherry.cli.console import write, write_error
from wherry.cli.daemon.contexts import Contexts, check_new_name
from wherry.cli.flags.parser import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command("[OPTIONS] CONTEXT", "Update a context", (DESCRIPTION, DOCKER), min_args=1, max_args=1)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Change its description, or its endpoint."""
    name, store = arguments[0], Contexts()
    check_new_name(name)
    metadata, tls = store.metadata(name), store.tls(name)
    if options["description"]:
        metadata["Metadata"] = {**(metadata.get("Metadata") or {}), "Description": options["description"]}
    if options["docker"] is not None:
        docker, tls = read_endpoint(store, options["docker"])
        metadata["Endpoints"] = {**metadata["Endpoints"], "docker": docker}
    store.write(metadata, tls)
    write("{}\n", name)
    write_error('Successfully updated context "{}"\n', name)
    return 0
