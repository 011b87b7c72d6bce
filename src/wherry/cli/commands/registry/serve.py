"""``wherry registry serve``: run a registry."""

from __future__ import annotations

from wherry.cli.flags.parser import BOOL, INT, STRING, Command, Flag
from wherry.cli.registry.server import COMMON, exec_server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS]",
    "Run a registry: images are pushed to it and pulled from it",
    (
        Flag("access-log", "", STRING, 'File for a line per request, "-" for standard output'),
        Flag("addr", "", STRING, "Address to listen on: HOST:PORT; port 0 is any that is free", "127.0.0.1:5000"),
        Flag("anonymous-read", "", BOOL, "Allow pulls without authentication"),
        Flag("engine", "", STRING, "Data root of an engine on this machine: its blobs are linked, not copied"),
        Flag("htpasswd", "", STRING, "File of usernames and passwords, as `htpasswd -B` writes it"),
        Flag("proxy", "", STRING, "Pull-through cache of the registry at this URL"),
        Flag("read-only", "", BOOL, "Refuse pushes and deletions"),
        Flag("tls-cert", "", STRING, "Path to the TLS certificate of the server"),
        Flag("tls-key", "", STRING, "Path to its private key"),
        Flag("workers", "", INT, "Number of processes that serve", 1),
        *COMMON,
    ),
    max_args=0,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Run the server in place of this process, until a signal ends it."""
    exec_server("serve", COMMAND, options)
