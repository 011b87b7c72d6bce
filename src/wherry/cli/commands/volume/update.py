"""``wherry volume update``: change a volume of a swarm."""

from __future__ import annotations

from wherry.cli.flags.parser import STRING, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] VOLUME",
    "Update a volume (cluster volumes only)",
    (Flag("availability", "", STRING, "Cluster Volume availability (active, pause, drain)", "active"),),
    min_args=1,
    max_args=1,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Ask for it; the daemon refuses in Docker's words."""
    context.client.volumes.update(arguments[0], {"Spec": {"Availability": options["availability"]}})
    return 0
