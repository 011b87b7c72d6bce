"""``wherry version``: versions of this command and of the daemon."""

from __future__ import annotations

from wherry.cli.console import flush, printable, write_error_page, write_raw
from wherry.cli.flags.common import OBJECT_FORMAT
from wherry.cli.flags.parser import Command
from wherry.errors import WherryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS]",
    "Show the version information of this command and of the daemon",
    (OBJECT_FORMAT,),
    max_args=0,
)


def _client_side() -> dict[str, Any]:
    import platform

    from wherry import __version__

    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return {"Version": __version__, "PythonVersion": platform.python_version(), "Os": "linux", "Arch": machine}


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Print the versions. :returns: 1 when no daemon answers."""
    found: dict[str, Any] = {"Client": _client_side(), "Server": None}
    failure = ""
    try:
        found["Server"] = context.client.system.version()
    except WherryError as error:
        from wherry.cli.errors import error_message

        failure = error_message(error)
    write_raw(_written(found, options["format"]))
    if failure:
        flush()
        write_error_page(f"{failure}\n")
        return 1
    return 0


def _written(found: dict[str, Any], format: str) -> str:
    if format:
        from wherry.cli.output.format import formatter

        return formatter(format)(found) + "\n"
    return _text(found["Client"], printable(found["Server"]))


def _text(client: dict[str, Any], server: dict[str, Any] | None) -> str:
    lines = [
        "Client:",
        f" Version:           {client['Version']}",
        f" Python version:    {client['PythonVersion']}",
        f" OS/Arch:           {client['Os']}/{client['Arch']}",
    ]
    if server:
        lines += ["", "Server:", *_server_lines(server)]
    return "\n".join(lines) + "\n"


def _server_lines(server: dict[str, Any]) -> list[str]:
    known = {
        "ApiVersion": f"{server.get('ApiVersion', '')} (minimum version {server.get('MinAPIVersion', '')})",
        "Os": f"{server.get('Os', '')}/{server.get('Arch', '')}",
    }
    lines = []
    for component in server.get("Components") or ():
        lines += [f" {component['Name']}:", f"  {'Version:':<17} {component['Version']}"]
        for name, value in sorted((component.get("Details") or {}).items()):
            label = {"ApiVersion": "API version", "Os": "OS/Arch", "GitCommit": "Git commit"}.get(name, _label(name))
            if name not in ("Arch", "MinAPIVersion") and value:
                lines.append(f"  {label + ':':<17} {known.get(name, value) if len(lines) < 16 else value}")
    return lines


def _label(name: str) -> str:
    """``KernelVersion`` as ``Kernel version``."""
    text = "".join(f" {letter.lower()}" if letter.isupper() and at else letter for at, letter in enumerate(name))
    return text[:1].upper() + text[1:]
