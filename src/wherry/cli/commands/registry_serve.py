"""``wherry registry serve``: run a registry."""

from __future__ import annotations

from wherry.cli.flags import BOOL, INT, STRING, Command, Flag
from wherry.cli.registry_server import COMMON, become

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS]",
    "Run a registry: images are pushed to it and pulled from it",
    (
        Flag("access-log", "", STRING, 'File for a line per request, "-" for standard output'),
        Flag("addr", "", STRING, "Address to listen on: HOST:PORT; port 0 is any that is free", "127.0.0.1:5000"),
        Flag("anonymous-read", "", BOOL, "Everybody may pull, whether they log in or not"),
        Flag("engine", "", STRING, "Data root of an engine on this machine: its blobs are linked, not copied"),
        Flag("htpasswd", "", STRING, "File of names and passwords, as `htpasswd -B` writes it"),
        Flag("proxy", "", STRING, "Be a cache of the registry at this URL"),
        Flag("read-only", "", BOOL, "Take nothing, and delete nothing"),
        Flag("tls-cert", "", STRING, "Certificate that clients are shown"),
        Flag("tls-key", "", STRING, "Its private key"),
        Flag("workers", "", INT, "Processes that serve", 1),
        *COMMON,
    ),
    most=0,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Run it, in place of this process, until it is told to end."""
    become("serve", COMMAND, options)
