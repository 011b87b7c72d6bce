"""``wherry network connect``: put a container on a network."""

from __future__ import annotations

from wherry.cli.flags import INT, LIST, STRING, Command, Flag
from wherry.cli.kinds import LINK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] NETWORK CONTAINER",
    "Put a container on a network",
    (
        Flag("alias", "", LIST, "One more name for it on this network"),
        Flag("driver-opt", "", LIST, "Option for its place (key=value)"),
        Flag("gw-priority", "", INT, "Of its networks the highest is the way out"),
        Flag("ip", "", STRING, "IPv4 address to have"),
        Flag("ip6", "", STRING, "IPv6 address to have"),
        Flag("link", "", LINK, "Another container, by a name that only this one uses (name:alias)"),
        Flag("link-local-ip", "", LIST, "Link-local address to have"),
    ),
    least=2,
    most=2,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Put it there."""
    from wherry.cli.networks import endpoint

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
