"""A client of the Docker Engine API over a unix socket, or over TCP with TLS.

    from wherry.client import Client

    with Client("unix:///run/wherry/wherry.sock") as client:
        created = client.containers.create({"Image": "busybox", "Cmd": ["true"]})
        client.containers.start(created["Id"])
        print(client.containers.wait(created["Id"])["StatusCode"])

Responses are the API's JSON as plain dicts and lists; errors are those of :mod:`wherry.errors`. What does not
belong here: anything about terminals, formatting or flags (:mod:`wherry.cli`), anything the daemon knows.

Nothing is imported until it is used: the start-up time of this package is part of every command that a person types.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.client.client import Client as Client

__all__ = ["Client"]


def __getattr__(name: str) -> object:
    if name == "Client":
        from wherry.client.client import Client

        return Client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
