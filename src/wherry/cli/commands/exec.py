"""``wherry exec``: run a further program inside a running container."""

from __future__ import annotations

from wherry.cli.flags import BOOL, LIST, STRING, Command, Flag
from wherry.cli.kinds import ENV

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "exec_body", "run"]

COMMAND = Command(
    "[OPTIONS] CONTAINER COMMAND [ARG...]",
    "Run a further program inside a running container",
    (
        Flag("detach", "d", BOOL, "Leave it running in the background"),
        Flag("detach-keys", "", STRING, "Keys that leave it running (default ctrl-p,ctrl-q)"),
        Flag("env", "e", ENV, "Environment variable (NAME=value, or NAME to pass ours on)"),
        Flag("env-file", "", LIST, "File with environment variables"),
        Flag("interactive", "i", BOOL, "Pass our standard input on"),
        Flag("privileged", "", BOOL, "Nearly all that root may do on the host"),
        Flag("tty", "t", BOOL, "Give it a terminal"),
        Flag("user", "u", STRING, "User and group to be (name or number[:group])"),
        Flag("workdir", "w", STRING, "Working directory"),
    ),
    least=2,
    passes_on=True,
    aliases="wherry container exec, wherry exec",
)


def exec_body(options: Options, command: list[str]) -> dict[str, Any]:
    """The body of ``POST /containers/{id}/exec``."""
    environment: list[str] = []
    for path in options["env-file"]:
        from wherry.cli.environment import read_env_file

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
        from wherry.cli.terminal import terminal_size

        size = terminal_size()
        if size:
            body["ConsoleSize"] = list(size)
    return body


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Run it. :returns: its exit code, 0 when detached."""
    execs = context.client.execs
    body = exec_body(options, arguments[1:])
    tty, stdin = body["Tty"], body["AttachStdin"]
    from wherry.cli.attached import detached_by_keys, pump, require_terminal

    if not options["detach"]:
        require_terminal(stdin=stdin, tty=tty)
    started = execs.create(arguments[0], body)
    if options["detach"]:
        execs.start_detached(started, tty=tty)
        return 0
    stream = execs.start(started, tty=tty, size=body.get("ConsoleSize"))

    def resize(height: int, width: int) -> None:
        with context.another_client() as client:
            client.execs.resize(started, height, width)

    if pump(stream, tty=tty, stdin=stdin, detach_keys=options["detach-keys"], resize=resize if tty else None):
        raise detached_by_keys()
    return int(execs.inspect(started)["ExitCode"] or 0)
