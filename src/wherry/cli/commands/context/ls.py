"""``wherry context ls``: list contexts."""

from __future__ import annotations

from wherry.cli.commands.context.show import in_use
from wherry.cli.console import write_error, write_raw
from wherry.cli.daemon.contexts import DEFAULT, DEFAULT_DESCRIPTION, Contexts, override
from wherry.cli.flags.common import TABLE_FORMAT
from wherry.cli.flags.parser import BOOL, Command, Flag
from wherry.cli.output.table import write_rows
from wherry.errors import WherryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS]",
    "List contexts",
    (
        TABLE_FORMAT,
        Flag("quiet", "q", BOOL, "Only show context names"),
    ),
    max_args=0,
    aliases="wherry context ls, wherry context list",
)

HEADERS = {
    "Name": "NAME",
    "Description": "DESCRIPTION",
    "DockerEndpoint": "DOCKER ENDPOINT",
    "Error": "ERROR",
    "Current": "CURRENT",
}
COLUMNS = ("Name", "Description", "DockerEndpoint", "Error")


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """List them; the one in use has an asterisk."""
    store = Contexts()
    names = sorted([DEFAULT, *store.names()])
    if options["quiet"]:
        write_raw("".join(f"{name}\n" for name in names))
        return 0
    current = in_use(context)
    rows = [_row(store, name, current) for name in names]
    if current not in names:
        rows.append({**_row(store, current, current), "Error": "context not found"})
    if not options["format"] or options["format"].startswith("table"):
        rows = [{**row, "Name": f"{row['Name']} *" if row["Current"] else row["Name"]} for row in rows]
    write_rows(rows, COLUMNS, HEADERS, options["format"])
    variable = override()
    if variable and not options["format"]:
        write_error(
            "Warning: {} environment variable overrides the active context. To use a context, either set the global "
            "--context flag, or unset {} environment variable.\n",
            variable,
            variable,
        )
    return 0


def _row(store: Contexts, name: str, current: str) -> dict[str, Any]:
    row = {"Name": name, "Description": "", "DockerEndpoint": "", "Error": "", "Current": name == current}
    try:
        found = store.metadata(name)
    except WherryError as error:
        return {**row, "Error": error.message}
    row["Description"] = (found.get("Metadata") or {}).get("Description", "")
    row["DockerEndpoint"] = (found["Endpoints"].get("docker") or {}).get("Host", "")
    return {**row, "Description": DEFAULT_DESCRIPTION} if name == DEFAULT else row
