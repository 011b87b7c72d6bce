"""``wherry exec``: execute a command in a running container."""

from __future__ import annotations

from wherry.cli.flags.kinds import ENV
from wherry.cli.flags.parser import BOOL, LIST, STRING, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "exec_body", "run"]

COMMAND = Command(
    "[OPTIONS] CONTAINER COMMAND [ARG...]",
    "Execute a command in a running container",
    (
        Flag("detach", "d", BOOL, "Detached mode: run the command in the background"),
        Flag("detach-keys", "", STRING, "Override the key sequence for detaching (default ctrl-p,ctrl-q)"),
        Flag("env", "e", ENV, "Set an environment variable (NAME=value, or NAME to pass the current value on)"),
        Flag("env-file", "", LIST, "Read environment variables from a file"),
        Flag("interactive", "i", BOOL, "Keep STDIN open (pass standard input on)"),
        Flag("privileged", "", BOOL, "Give extended privileges to the command"),
        Flag("tty", "t", BOOL, "Allocate a pseudo-TTY (a terminal)"),
        Flag("user", "u", STRING, "Username or UID, and group (name|uid[:group|gid])"),
        Flag("workdir", "w", STRING, "Working directory inside the container"),
    ),
    min_args=2,
    interspersed=False,
    aliases="wherry container exec, wherry exec",
)


def exec_body(options: Options, command: list[str]) -> dict[str, Any]:
    """The body of ``POST /containers/{id}/exec``."""
    environment: list[str] = []
    for path in options["env-file"]:
        from wherry.cli.flags.environment import read_env_file

        environment += read_env_file(path)
    environment += options["env"]
    attached = not options["detach"]
    body = {
        "User": options["user"],
        "Privileged": options["privileged"],
        "Tty": options["tty"],
        "AttachStdin": attached and options["interactive"],
        "AttachStderr": attached,
        "AttachStdout": attached,
        "DetachKeys": options["detach-keys"],
        "Env": environment or None,
        "WorkingDir": options["workdir"],
        "Cmd": command,
    }
    if options["tty"] and attached:
        from wherry.cli.terminal.terminal import terminal_size

        size = terminal_size()
        if size:
            body["ConsoleSize"] = list(size)
    return body


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Execute the command. :returns: its exit code, 0 when detached."""
    execs = context.client.execs
    body = exec_body(options, arguments[1:])
    tty, stdin = body["Tty"], body["AttachStdin"]
    from wherry.cli.terminal.session import check_detach_keys, detached_by_keys, pump, require_terminal

    if not options["detach"]:
        require_terminal(stdin=stdin, tty=tty)
        check_detach_keys(options["detach-keys"])
    started = execs.create(arguments[0], body)
    if options["detach"]:
        execs.start_detached(started, tty=tty)
        return 0
    stream = execs.start(started, tty=tty, size=body.get("ConsoleSize"))

    def resize(height: int, width: int) -> None:
        with context.new_client() as client:
            client.execs.resize(started, height, width)

    if pump(stream, tty=tty, stdin=stdin, detach_keys=options["detach-keys"], resize=resize if tty else None):
        raise detached_by_keys()
    return int(execs.inspect(started)["ExitCode"] or 0)
