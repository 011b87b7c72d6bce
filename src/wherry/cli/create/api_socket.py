"""``--use-api-socket``: the container reaches the daemon, and the registries with the caller's credentials."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context

__all__ = ["add_api_socket", "deliver_credentials"]

_SOCKET = "/var/run/docker.sock"  # where Docker's clients look in the container, and where Docker has it
_FOLDER = "/run/secrets/docker"
_VARIABLE = "DOCKER_CONFIG"


def add_api_socket(context: Context, body: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Add the daemon's socket to the mounts of a container, and where its credentials are to its environment.

    Without credentials there is no such place, as with docker's command: images may have one of their own.

    :returns: the credentials that it is to get, by registry.
    """
    from wherry.cli.context import find_daemon
    from wherry.cli.registry.credentials import stored

    source = find_daemon(context.global_options).path or _SOCKET
    mount = {"Type": "bind", "Source": source, "Target": _SOCKET, "BindOptions": {}}
    body["HostConfig"]["Mounts"] = [*(body["HostConfig"].get("Mounts") or ()), mount]
    env = body["Env"] or []
    if any(entry.partition("=")[0] == _VARIABLE for entry in env):
        return {}  # it has a place of its own
    if found := stored():
        body["Env"] = [*env, f"{_VARIABLE}={_FOLDER}"]
    return found


def deliver_credentials(context: Context, container: str, found: dict[str, dict[str, str]]) -> None:
    """Put credentials into a container that was created."""
    import binascii
    import io
    import tarfile

    from wherry.client.codec import encode

    auths = {}
    for server, auth in found.items():
        pair = f"{auth.get('username', '')}:{auth.get('password', '')}".encode()
        token = {"identitytoken": auth["identitytoken"]} if auth.get("identitytoken") else {}
        auths[server] = {"auth": binascii.b2a_base64(pair, newline=False).decode(), **token}
    text = encode({"auths": auths})
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        # The folders above it are made where they are missing; those that the image has stay as they are.
        file = tarfile.TarInfo("run/secrets/docker/config.json")
        file.size, file.mode = len(text), 0o600
        archive.addfile(file, io.BytesIO(text))
    context.client.archives.put(container, "/", buffer.getvalue())
