"""``wherry port``: where a container's ports are reached; ``wherry port audit``: what is reachable from where.

A container that is called ``audit`` is asked for by its ID.
"""

from __future__ import annotations

import sys

from wherry.cli.flags import STRING, Command, Flag
from wherry.cli.leave import Leave

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "CONTAINER [PRIVATE_PORT[/PROTO]] | audit",
    "Show where a container's ports are reached, or (audit) what of all is reachable from where",
    (Flag("format", "", STRING, "json: with audit, print what the daemon answers"),),
    least=1,
    most=2,
    aliases="wherry container port, wherry port",
)


def _addresses(bindings: list[dict[str, str]] | None) -> list[str]:
    result = []
    for binding in sorted(bindings or (), key=lambda one: (":" in one["HostIp"], one["HostIp"], int(one["HostPort"]))):
        host = binding["HostIp"]
        result.append(f"[{host}]:{binding['HostPort']}" if ":" in host else f"{host}:{binding['HostPort']}")
    return result


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Show them."""
    if arguments == ["audit"]:
        return _audit(context, options["format"])
    ports = context.client.containers.inspect(arguments[0])["NetworkSettings"].get("Ports") or {}
    if len(arguments) == 1:
        for port in sorted(ports, key=lambda one: (int(one.partition("/")[0]), one)):
            sys.stdout.write("".join(f"{port} -> {address}\n" for address in _addresses(ports[port])))
        return 0
    wanted = arguments[1] if "/" in arguments[1] else f"{arguments[1]}/tcp"
    if not ports.get(wanted):
        raise Leave(1, f"Error: No public port '{arguments[1]}' published for {arguments[0]}")
    sys.stdout.write("".join(f"{address}\n" for address in _addresses(ports[wanted])))
    return 0


def _audit(context: Context, format: str) -> int:
    found = context.client.networks.audit()
    if format == "json":
        from wherry.cli.gotemplate.printing import go_json

        sys.stdout.write(go_json(found) + "\n")
        return 0
    from wherry.cli.audit import audit_text

    sys.stdout.write(audit_text(found))
    return 0
