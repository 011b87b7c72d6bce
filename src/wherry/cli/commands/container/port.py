"""``wherry port``: list port mappings; ``wherry port audit``: list everything that is reachable, and from where.

A container whose name is ``audit`` has to be given by its ID.
"""

from __future__ import annotations

from wherry.cli.console import write, write_page, write_raw
from wherry.cli.exit import Exit
from wherry.cli.flags.parser import STRING, Command, Flag, integer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "CONTAINER [PRIVATE_PORT[/PROTO]] | audit",
    "List a container's port mappings, or (audit) everything that is reachable, and from where",
    (Flag("format", "", STRING, "Format output of audit: json"),),
    min_args=1,
    max_args=2,
    aliases="wherry container port, wherry port",
)


def _addresses(bindings: list[dict[str, str]] | None) -> list[str]:
    result = []
    for binding in sorted(bindings or (), key=lambda one: (":" in one["HostIp"], one["HostIp"], int(one["HostPort"]))):
        host = binding["HostIp"]
        result.append(f"[{host}]:{binding['HostPort']}" if ":" in host else f"{host}:{binding['HostPort']}")
    return result


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Print the port mappings."""
    if arguments == ["audit"]:
        return _audit(context, options["format"])
    ports = context.client.containers.inspect(arguments[0])["NetworkSettings"].get("Ports") or {}
    if len(arguments) == 1:
        for port in sorted(ports, key=lambda one: (int(one.partition("/")[0]), one)):
            for address in _addresses(ports[port]):
                write("{} -> {}\n", port, address)
        return 0
    number = arguments[1].partition("/")[0]
    try:
        integer(16, signed=False)(number)
    except ValueError as error:
        raise Exit(1, f"Error: invalid port ({number}): {error}") from None
    wanted = arguments[1] if "/" in arguments[1] else f"{arguments[1]}/tcp"
    if not ports.get(wanted):
        raise Exit(1, f"Error: No public port '{arguments[1]}' published for {arguments[0]}")
    for address in _addresses(ports[wanted]):
        write("{}\n", address)
    return 0


def _audit(context: Context, format: str) -> int:
    found = context.client.networks.audit()
    if format == "json":
        from wherry.docker.gotemplate.printing import go_json

        write_raw(go_json(found) + "\n")
        return 0
    from wherry.cli.output.audit import audit_text

    write_page(audit_text(found))
    return 0
