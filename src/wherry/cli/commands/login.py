"""``wherry login``: tell a registry who we are, and remember it."""

from __future__ import annotations

import sys

from wherry.cli.credentials import find, server_of, store
from wherry.cli.flags import BOOL, STRING, Command, Flag
from wherry.cli.leave import Leave

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] [SERVER]",
    "Log in to a registry; Docker Hub when none is named",
    (
        Flag("password", "p", STRING, "Password or token (others may see it in the list of processes)"),
        Flag("password-stdin", "", BOOL, "Read the password from standard input"),
        Flag("username", "u", STRING, "User name"),
    ),
    most=1,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Try the credentials at the registry, and remember those that it takes."""
    server = server_of(arguments[0] if arguments else "")
    auth = _auth(options, server)
    auth["serveraddress"] = server
    answer = context.client.system.login(auth)
    if answer.get("IdentityToken"):
        auth = {"username": auth["username"], "identitytoken": answer["IdentityToken"], "serveraddress": server}
    clear = store(server, auth)
    if clear and "identitytoken" not in auth:
        sys.stderr.write(
            f"WARNING! Your credentials are stored unencrypted in '{clear}'.\n"
            "Configure a credential helper to remove this warning.\n"
        )
    sys.stdout.write(f"{answer.get('Status', 'Login Succeeded')}\n")
    return 0


def _auth(options: Options, server: str) -> dict[str, str]:
    """What was given, what is known already, or what the person types."""
    if options["password"] and options["password-stdin"]:
        raise Leave(1, "--password and --password-stdin are mutually exclusive")
    if options["password"]:
        sys.stderr.write("WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n")
    username, password = options["username"], options["password"]
    if options["password-stdin"]:
        if not username:
            raise Leave(1, "Must provide --username with --password-stdin")
        password = sys.stdin.read().rstrip("\r\n")
    elif not username and not password and (known := find(server)):
        sys.stdout.write("Authenticating with existing credentials...\n")
        return known
    if not (username and password) and not sys.stdin.isatty():
        raise Leave(1, "Error: Cannot perform an interactive login from a non TTY device")
    username = username or input("Username: ").strip()
    return {"username": username, "password": password or _asked()}


def _asked() -> str:
    import getpass

    return getpass.getpass("Password: ")
