"""``wherry start``: start stopped containers; with ``-a`` attach to one of them."""

from __future__ import annotations

from wherry.cli.console import write_error
from wherry.cli.flags.parser import BOOL, STRING, Command, Flag
from wherry.cli.for_each import for_each

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Start one or more stopped containers",
    (
        Flag("attach", "a", BOOL, "Attach STDOUT and STDERR, and forward signals"),
        Flag("checkpoint", "", STRING, "Restore from this checkpoint"),
        Flag("checkpoint-dir", "", STRING, "Use a custom checkpoint storage directory"),
        Flag("detach-keys", "", STRING, "Override the key sequence for detaching (default ctrl-p,ctrl-q)"),
        Flag("interactive", "i", BOOL, "Attach the container's STDIN"),
    ),
    min_args=1,
    aliases="wherry container start, wherry start",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Start the containers. :returns: with ``-a`` or ``-i`` the container's exit code, else 1 when one failed."""
    if options["attach"] or options["interactive"]:
        if len(arguments) > 1:
            from wherry.cli.exit import Exit

            raise Exit(1, "you cannot start and attach multiple containers at once")
        return _attached(context, options, arguments[0])
    if options["checkpoint"] and len(arguments) > 1:
        from wherry.cli.exit import Exit

        raise Exit(1, "you cannot restore multiple containers at once")
    return _all(context, options, arguments)


def _start(context: Context, options: Options, ref: str) -> None:
    context.client.containers.start(ref, checkpoint=options["checkpoint"], checkpoint_dir=options["checkpoint-dir"])


def _all(context: Context, options: Options, refs: list[str]) -> int:
    failed: list[str] = []

    def start(ref: str) -> None:
        try:
            _start(context, options, ref)
        except Exception:
            failed.append(ref)
            raise

    code = for_each(refs, start)
    if failed:
        write_error("Error: failed to start containers: {}\n", ", ".join(failed))
    return code


def _attached(context: Context, options: Options, ref: str) -> int:
    from wherry.cli.terminal.session import check_detach_keys, exit_status, forward_signals, pump

    check_detach_keys(options["detach-keys"])
    containers = context.client.containers
    found = containers.inspect(ref)
    container, tty = found["Id"], found["Config"]["Tty"]
    stdin = bool(options["interactive"] and found["Config"]["OpenStdin"])
    keys = options["detach-keys"]
    if not tty:
        forward_signals(context, container)
    stream = containers.attach(container, stdin=stdin, detach_keys=keys)
    waiting = containers.wait_begin(container, "removed" if found["HostConfig"]["AutoRemove"] else "next-exit")
    _start(context, options, container)

    def resize(height: int, width: int) -> None:
        with context.new_client() as client:
            client.containers.resize(container, height, width)

    if pump(stream, tty=tty, stdin=stdin, detach_keys=keys, resize=resize if tty else None):
        return 0
    return exit_status(waiting)
