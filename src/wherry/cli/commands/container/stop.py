"""``wherry stop``: stop containers, and kill those that do not stop in time."""

from __future__ import annotations

from wherry.cli.flags.parser import INT, STRING, Command, Flag
from wherry.cli.for_each import for_each

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "STOP_FLAGS", "run", "timeout"]

STOP_FLAGS = (
    Flag("signal", "s", STRING, "Signal to send to the container"),
    Flag("timeout", "t", INT, "Seconds to wait before killing the container; -1 waits for ever"),
    Flag("time", "", INT, "Seconds to wait before killing the container", hidden=True),
)

COMMAND = Command(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Stop one or more running containers; kill those that do not stop in time",
    STOP_FLAGS,
    min_args=1,
    aliases="wherry container stop, wherry stop",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Stop each container. :returns: 1 when one failed."""
    containers = context.client.containers
    signal, seconds = options["signal"], timeout(options)
    return for_each(arguments, lambda ref: containers.stop(ref, signal=signal, timeout=seconds))


def timeout(options: Options) -> int | None:
    """Seconds to wait before the container is killed; None for its own ``StopTimeout``."""
    flag = next((name for name in ("timeout", "time") if name in options.given), "")
    return options[flag] if flag else None
