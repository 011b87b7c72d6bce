"""``wherry context create``: give a daemon a name."""

from __future__ import annotations

from wherry.cli.commands.context.show import in_use
from wherry.cli.console import write, write_error
from wherry.cli.daemon.contexts import TLS_NAMES, Contexts, check_new_name, endpoint
from wherry.cli.flags.parser import STRING, Command, Flag, Kind
from wherry.client.address import parse_host
from wherry.errors import Conflict, InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

KEYS = ("from", "host", *TLS_NAMES, "skip-tls-verify")


def _parse_endpoint(text: str) -> dict[str, str]:
    found = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"{part} must be formatted as key=value")
        found[key.strip()] = value
    return found


ENDPOINT = Kind("stringToString", _parse_endpoint)
DOCKER = Flag("docker", "", ENDPOINT, "Set the endpoint: host=ADDRESS,ca=FILE,cert=FILE,key=FILE,skip-tls-verify=true")
DESCRIPTION = Flag("description", "", STRING, "Description of the context")

COMMAND = Command(
    "[OPTIONS] CONTEXT",
    "Create a context",
    (
        DESCRIPTION,
        DOCKER,
        Flag("from", "", STRING, "Create context from a named context"),
    ),
    min_args=1,
    max_args=1,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Create it: of a description, or as a copy of another one."""
    name, store = arguments[0], Contexts()
    check_new_name(name)
    if store.exists(name):
        raise Conflict(f'context "{name}" already exists')
    description = {"Description": options["description"]} if options["description"] else {}
    if options["docker"] is None or options["from"]:
        if options["docker"]:
            raise InvalidInput("cannot use --docker flag when --from is set")
        other = options["from"] or in_use(context)
        found = store.metadata(other)
        metadata = {**found, "Name": name, "Metadata": {**(found.get("Metadata") or {}), **description}}
        store.write(metadata, store.tls(other))
    else:
        docker, tls = read_endpoint(store, options["docker"])
        store.write({"Name": name, "Metadata": description, "Endpoints": {"docker": docker}}, tls)
    write("{}\n", name)
    write_error('Successfully created context "{}"\n', name)
    return 0


def read_endpoint(store: Contexts, given: dict[str, str]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What ``--docker`` says: the endpoint, and the certificates by the names of their files.

    :raises InvalidInput: a key is unknown, the address is none, or a file cannot be read.
    """
    for key in given:
        if key not in KEYS:
            raise InvalidInput(f"unable to create docker endpoint config: unrecognized config key: {key}")
    if given.get("from"):
        found = store.metadata(given["from"])["Endpoints"].get("docker") or {}
        return found, store.tls(given["from"])
    if given.get("host"):
        parse_host(given["host"])
    skip = given.get("skip-tls-verify", "false").lower()
    if skip not in ("true", "false", "1", "0", "t", "f"):
        raise InvalidInput(f'unable to create docker endpoint config: skip-tls-verify: "{skip}" is not true or false')
    return endpoint(given.get("host", ""), skip_verify=skip[0] in "t1"), _read_certificates(given)


def _read_certificates(given: dict[str, str]) -> dict[str, bytes]:
    found = {}
    for key, name in TLS_NAMES.items():
        if not given.get(key):
            continue
        try:
            with open(given[key], "rb") as file:
                found[name] = file.read()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise InvalidInput(f"unable to create docker endpoint config: open {given[key]}: {reason}") from error
    return found
