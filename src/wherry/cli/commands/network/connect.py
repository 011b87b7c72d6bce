"""``wherry network connect``: connect a container to a network."""

from __future__ import annotations

from wherry.cli.flags.kinds import LINK
from wherry.cli.flags.parser import INT, LIST, STRING, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] NETWORK CONTAINER",
    "Connect a container to a network",
    (
        Flag("alias", "", LIST, "Network-scoped alias (a further name on its network)"),
        Flag("driver-opt", "", LIST, "Driver option for the endpoint (key=value)"),
        Flag("gw-priority", "", INT, "Gateway priority: the network with the highest provides the default gateway"),
        Flag("ip", "", STRING, "IPv4 address (10.1.0.5)"),
        Flag("ip6", "", STRING, "IPv6 address (fd00::5)"),
        Flag("link", "", LINK, "Add a link to another container (name:alias)"),
        Flag("link-local-ip", "", LIST, "Link-local address"),
    ),
    min_args=2,
    max_args=2,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Connect the container."""
    from wherry.cli.flags.networks import endpoint

    asked = {
        "aliases": list(options["alias"]) or None,
        "links": list(options["link"]) or None,
        "ip": options["ip"],
        "ip6": options["ip6"],
        "link_local": list(options["link-local-ip"]),
        "driver_opts": _driver_options(options["driver-opt"]),
        "gw-priority": options["gw-priority"],
    }
    context.client.networks.connect(arguments[0], arguments[1], endpoint(asked))
    return 0


def _driver_options(texts: list[str]) -> dict[str, str] | None:
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            from wherry.errors import InvalidInput

            raise InvalidInput("invalid key/value pair format in driver options")
        found[key] = value
    return found or None
