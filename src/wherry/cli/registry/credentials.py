"""Registry credentials: Docker's ``config.json`` and its credential helpers, shared with the docker command.

A secret of a helper is never written to the file. See docker-credential-helpers for the helpers' protocol: the
server on standard input, ``{"ServerURL", "Username", "Secret"}`` on standard output.
"""

from __future__ import annotations

from wherry.cli.config_file import config_path, read_config, write_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

__all__ = ["HUB", "all_header", "auth_header", "erase", "lookup", "server_key", "store", "stored"]

#: The key under which Docker Hub's credentials are stored.
HUB = "https://index.docker.io/v1/"
_TOKEN = "<token>"  # the username of helpers when the secret is an identity token
_HELPER_SECONDS = 60


def server_key(domain: str) -> str:
    """The key under which a registry's credentials are stored."""
    host = domain.partition("://")[2] if "://" in domain else domain
    host = host.partition("/")[0]
    return HUB if host in ("", "docker.io", "index.docker.io", "registry-1.docker.io") else host


def auth_header(image: str) -> dict[str, str]:
    """The header with the credentials for an image's registry; empty when there are none."""
    from wherry.docker.reference import full_name

    found = lookup(server_key(full_name(image).partition("/")[0]))
    return {"X-Registry-Auth": encode_auth(found)} if found else {}


def all_header() -> dict[str, str]:
    """The header of a build, which may need any registry: all credentials that are stored; empty without any."""
    found = stored()
    return {"X-Registry-Config": encode_auth(found)} if found else {}


def stored() -> dict[str, dict[str, str]]:
    """All credentials, by registry, as `lookup` gives them."""
    config = read_config()
    servers = dict.fromkeys(map(server_key, (*(config.get("auths") or {}), *(config.get("credHelpers") or {}))))
    return {server: auth for server in servers if (auth := lookup(server))}


def encode_auth(auth: Mapping[str, object]) -> str:
    """Credentials in the encoding of the header."""
    import binascii

    from wherry.client.codec import encode

    text = binascii.b2a_base64(encode(auth), newline=False).decode()
    return text.replace("+", "-").replace("/", "_")


def lookup(server: str) -> dict[str, str]:
    """The stored credentials for a registry, as Docker's ``AuthConfig``; empty when there are none."""
    config = read_config()
    helper = _helper(config, server)
    if helper:
        return _from_helper(helper, server)
    for key, entry in (config.get("auths") or {}).items():
        if server_key(key) == server and entry:
            return _from_entry(entry, server)
    return {}


def store(server: str, auth: dict[str, str]) -> str:
    """Store credentials. :returns: the path of the file if the secret is stored unencrypted, else empty."""
    config = read_config()
    helper = _helper(config, server)
    auths = config.setdefault("auths", {})
    if helper:
        token = auth.get("identitytoken")
        secret = {"ServerURL": server, "Username": _TOKEN if token else auth["username"],
                  "Secret": token or auth.get("password", "")}  # fmt: skip
        _call(helper, "store", _json(secret))
        auths[server] = {}
    else:
        import binascii

        token = auth.get("identitytoken", "")
        pair = f"{auth['username']}:{'' if token else auth.get('password', '')}"
        auths[server] = {"auth": binascii.b2a_base64(pair.encode(), newline=False).decode()}
        if token:
            auths[server]["identitytoken"] = token
    write_config(config)
    return "" if helper else config_path()


def erase(server: str) -> bool:
    """Remove credentials. :returns: whether there were any."""
    config = read_config()
    helper = _helper(config, server)
    keys = [key for key in config.get("auths") or {} if server_key(key) == server]
    known = bool(keys) or bool(helper and _from_helper(helper, server))
    if helper:
        _call(helper, "erase", server)
    for key in keys:
        del config["auths"][key]
    if keys:
        write_config(config)
    return known


# --- entries -----------------------------------------------------------------------------------------


def _from_entry(entry: dict[str, Any], server: str) -> dict[str, str]:
    import binascii

    username, password = entry.get("username", ""), entry.get("password", "")
    if entry.get("auth"):
        from wherry.errors import InvalidInput

        try:
            username, _, password = binascii.a2b_base64(entry["auth"]).decode().partition(":")
        except ValueError as error:
            raise InvalidInput(f"invalid credentials for {server} in {config_path()}", cause=str(error)) from error
    found = {"username": username, "password": password.rstrip("\0"), "serveraddress": server}
    for name in ("identitytoken", "registrytoken"):
        if entry.get(name):
            found[name] = entry[name]
    return found


# --- helpers ------------------------------------------------------------------------------------------


def _helper(config: dict[str, Any], server: str) -> str:
    helpers = config.get("credHelpers") or {}
    for key, name in helpers.items():
        if server_key(key) == server:
            return str(name)
    return str(config.get("credsStore") or "")


def _from_helper(helper: str, server: str) -> dict[str, str]:
    from wherry.client.codec import decode

    answer = _call(helper, "get", server, may_lack=True)
    if not answer:
        return {}
    try:
        found = decode(answer)
        username, secret = found["Username"], found["Secret"]
    except (ValueError, KeyError, TypeError) as error:
        from wherry.errors import SystemFault

        raise SystemFault(f"invalid response of docker-credential-{helper}", cause=str(error)) from error
    if username == _TOKEN:
        return {"identitytoken": secret, "serveraddress": server}
    return {"username": username, "password": secret, "serveraddress": server}


def _call(helper: str, verb: str, given: str, *, may_lack: bool = False) -> str:
    import subprocess

    from wherry.errors import InvalidInput, SystemFault

    if not helper.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise InvalidInput(f"invalid name of a credential helper: {helper!r}")
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [program, verb], input=given, capture_output=True, text=True, timeout=_HELPER_SECONDS, check=False
        )
    except (FileNotFoundError, PermissionError) as error:  # the latter when a directory of PATH is not accessible
        raise SystemFault(f"credential helper not found: {program}", hint=f"see {config_path()}") from error
    except subprocess.TimeoutExpired as error:
        raise SystemFault(f"{program} does not answer") from error
    if done.returncode == 0:
        return done.stdout
    said = (done.stdout or done.stderr).strip()
    if may_lack and "credentials not found" in said:
        return ""
    raise SystemFault(f"error getting credentials - {program}: {said or f'exit status {done.returncode}'}")


def _json(value: dict[str, str]) -> str:
    from wherry.client.codec import encode

    return encode(value).decode()
