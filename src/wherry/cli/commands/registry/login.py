"""``wherry login``: authenticate to a registry, and store the credentials."""

from __future__ import annotations

import sys

from wherry.cli.console import write, write_error
from wherry.cli.exit import Exit
from wherry.cli.flags.parser import BOOL, STRING, Command, Flag
from wherry.cli.registry.credentials import lookup, server_key, store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] [SERVER]",
    "Authenticate to a registry (log in); Docker Hub by default",
    (
        Flag("password", "p", STRING, "Password or token (visible in the process list)"),
        Flag("password-stdin", "", BOOL, "Take the password or token from STDIN"),
        Flag("username", "u", STRING, "Username"),
    ),
    max_args=1,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Let the daemon try the credentials, and store them when the registry accepts them."""
    server = server_key(arguments[0] if arguments else "")
    auth = _auth(options, server)
    auth["serveraddress"] = server
    answer = context.client.system.login(auth)
    if answer.get("IdentityToken"):
        auth = {"username": auth["username"], "identitytoken": answer["IdentityToken"], "serveraddress": server}
    clear = store(server, auth)
    if clear and "identitytoken" not in auth:
        write_error(
            "WARNING! Your credentials are stored unencrypted in '{}'.\n"
            "Configure a credential helper to remove this warning.\n",
            clear,
        )
    write("{}\n", answer.get("Status", "Login Succeeded"))
    return 0


def _auth(options: Options, server: str) -> dict[str, str]:
    """The credentials: from the flags, from the store, or from a prompt."""
    if options["password"] and options["password-stdin"]:
        raise Exit(1, "--password and --password-stdin are mutually exclusive")
    if options["password"]:
        write_error("WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n")
    username, password = options["username"], options["password"]
    if options["password-stdin"]:
        if not username:
            raise Exit(1, "Must provide --username with --password-stdin")
        password = sys.stdin.read().rstrip("\r\n")
    elif not username and not password and (known := lookup(server)):
        write("Authenticating with existing credentials...\n")
        return known
    if not (username and password) and not sys.stdin.isatty():
        raise Exit(1, "Error: Cannot perform an interactive login from a non TTY device")
    username = username or input("Username: ").strip()
    return {"username": username, "password": password or _prompt()}


def _prompt() -> str:
    import getpass

    return getpass.getpass("Password: ")
