"""``wherry start``: start containers that were made or have ended; with ``-a`` stay with one of them."""

from __future__ import annotations

import sys

from wherry.cli.each import for_each
from wherry.cli.flags import BOOL, STRING, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Start containers",
    (
        Flag("attach", "a", BOOL, "Show its output and pass signals on"),
        Flag("detach-keys", "", STRING, "Keys that leave it running (default ctrl-p,ctrl-q)"),
        Flag("interactive", "i", BOOL, "Pass our standard input on"),
    ),
    least=1,
    aliases="wherry container start, wherry start",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Start them. :returns: with ``-a`` or ``-i`` the container's exit code, else 1 when one failed."""
    if options["attach"] or options["interactive"]:
        if len(arguments) > 1:
            from wherry.cli.leave import Leave

            raise Leave(1, "you cannot start and attach multiple containers at once")
        return _attached(context, options, arguments[0])
    return _all(context, arguments)


def _all(context: Context, refs: list[str]) -> int:
    containers = context.client.containers
    failed: list[str] = []

    def start(ref: str) -> None:
        try:
            containers.start(ref)
        except Exception:
            failed.append(ref)
            raise

    code = for_each(refs, start)
    if failed:
        sys.stderr.write(f"Error: failed to start containers: {', '.join(failed)}\n")
    return code


def _attached(context: Context, options: Options, ref: str) -> int:
    from wherry.cli.attached import exit_status, forward_signals, pump

    containers = context.client.containers
    found = containers.inspect(ref)
    container, tty = found["Id"], found["Config"]["Tty"]
    stdin = bool(options["interactive"] and found["Config"]["OpenStdin"])
    keys = options["detach-keys"]
    if not tty:
        forward_signals(context, container)
    stream = containers.attach(container, stdin=stdin, detach_keys=keys)
    waiting = containers.wait_begin(container, "removed" if found["HostConfig"]["AutoRemove"] else "next-exit")
    containers.start(container)

    def resize(height: int, width: int) -> None:
        with context.another_client() as client:
            client.containers.resize(container, height, width)

    if pump(stream, tty=tty, stdin=stdin, detach_keys=keys, resize=resize if tty else None):
        return 0
    return exit_status(waiting)
