"""Docker's contexts: daemons with a name, in the folder of the configuration, shared with the docker command.

``contexts/meta/<SHA-256 of the name>/meta.json`` has the address, ``contexts/tls/<...>/docker/`` the certificates;
``currentContext`` of ``config.json`` is the one in use.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil

from wherry.cli.config_file import config_folder, read_config, write_config
from wherry.client.address import DEFAULT_HOST, Address, TLSFiles, parse_host
from wherry.errors import Conflict, InvalidInput, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

__all__ = [
    "DEFAULT",
    "TLS_NAMES",
    "Contexts",
    "address_of",
    "check_new_name",
    "current_context",
    "default_host",
    "override",
    "use_context",
]

DEFAULT = "default"
DEFAULT_DESCRIPTION = "Current DOCKER_HOST based configuration"
IN_MEMORY = "<IN MEMORY>"
#: The files of a context's TLS material, by the keys of ``--docker``.
TLS_NAMES = {"ca": "ca.pem", "cert": "cert.pem", "key": "key.pem"}
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.+-]+")
_MOST_METADATA = 1 << 20


def check_new_name(name: str) -> None:
    """Check the name of a context that is to be made.

    :raises InvalidInput: it is none, or reserved.
    """
    if name == DEFAULT:
        raise InvalidInput('"default" is a reserved context name')
    if not _NAME.fullmatch(name):
        raise InvalidInput(f'context name "{name}" is invalid, names are validated against regexp "^{_NAME.pattern}$"')


def override() -> str:
    """The variable that overrides the context in use; empty when none is set."""
    return next((name for name in ("WHERRY_HOST", "DOCKER_HOST") if os.environ.get(name)), "")


def default_host() -> str:
    """The address of the context ``default``."""
    return os.environ.get(override() or "WHERRY_HOST") or DEFAULT_HOST


def current_context(given: str = "") -> str:
    """The name of the context in use: a flag's, a variable's, the configuration file's."""
    if given:
        return given
    if override():
        return DEFAULT
    return os.environ.get("DOCKER_CONTEXT") or str(read_config().get("currentContext") or DEFAULT)


def use_context(name: str) -> None:
    """Make a context the one in use."""
    config = read_config()
    if config.pop("currentContext", DEFAULT) != name or name == DEFAULT:
        if name != DEFAULT:
            config["currentContext"] = name
        write_config(config)


class Contexts:
    """The contexts of a folder."""

    def __init__(self, folder: str | None = None) -> None:
        self._folder = os.path.join(folder or config_folder(), "contexts")

    def metadata_path(self, name: str) -> str:
        """The folder of a context's metadata."""
        return os.path.join(self._folder, "meta", _identity(name))

    def tls_path(self, name: str) -> str:
        """The folder of a context's certificates."""
        return os.path.join(self._folder, "tls", _identity(name))

    def names(self) -> list[str]:
        """The names of all contexts but ``default``, sorted; what is damaged has none."""
        folder = os.path.join(self._folder, "meta")
        found = []
        for one in os.listdir(folder) if os.path.isdir(folder) else ():
            try:
                found.append(str(_read_metadata(os.path.join(folder, one, "meta.json"))["Name"]))
            except (OSError, ValueError, KeyError, TypeError):
                continue
        return sorted(found)

    def exists(self, name: str) -> bool:
        """Whether there is such a context."""
        return name == DEFAULT or os.path.exists(os.path.join(self.metadata_path(name), "meta.json"))

    def metadata(self, name: str) -> dict[str, Any]:
        """The metadata of a context.

        :raises NotFound: there is none.
        :raises InvalidInput: it is damaged.
        """
        if name == DEFAULT:
            return {"Name": DEFAULT, "Metadata": {}, "Endpoints": {"docker": endpoint(default_host())}}
        path = os.path.join(self.metadata_path(name), "meta.json")
        try:
            found = _read_metadata(path)
        except FileNotFoundError:
            raise NotFound(f'context "{name}": context not found: open {path}: no such file or directory') from None
        except (OSError, ValueError) as error:
            raise InvalidInput(f"cannot read {path}", cause=str(error)) from error
        return found

    def tls(self, name: str) -> dict[str, bytes]:
        """The certificates of a context, by the names of their files."""
        found = {}
        for file in TLS_NAMES.values():
            try:
                with open(os.path.join(self.tls_path(name), "docker", file), "rb") as opened:
                    found[file] = opened.read(_MOST_METADATA)
            except FileNotFoundError:
                continue
        return {} if name == DEFAULT else found

    def write(self, metadata: Mapping[str, Any], tls: Mapping[str, bytes]) -> None:
        """Make or replace a context."""
        import json

        name = str(metadata["Name"])
        shutil.rmtree(self.tls_path(name), ignore_errors=True)
        for file, data in tls.items():
            _write(os.path.join(self.tls_path(name), "docker", file), data, 0o600)
        text = json.dumps(metadata, separators=(",", ":"))
        _write(os.path.join(self.metadata_path(name), "meta.json"), text.encode(), 0o644)

    def remove(self, name: str, *, force: bool = False) -> None:
        """Remove a context; with ``force`` also the one in use, or one that is not there.

        :raises InvalidInput: it is ``default``.
        :raises Conflict: it is in use.
        :raises NotFound: there is none.
        """
        if name == DEFAULT:
            raise InvalidInput('context "default" cannot be removed')
        if not self.exists(name) and not force:
            raise NotFound(f'context "{name}" does not exist')
        if read_config().get("currentContext") == name:
            if not force:
                raise Conflict(f'context "{name}" is in use, set -f flag to force remove')
            use_context(DEFAULT)
        shutil.rmtree(self.metadata_path(name), ignore_errors=True)
        shutil.rmtree(self.tls_path(name), ignore_errors=True)


def endpoint(host: str, *, skip_verify: bool = False) -> dict[str, Any]:
    """An endpoint in the form of a context's metadata."""
    return {**({"Host": host} if host else {}), "SkipTLSVerify": skip_verify}


def address_of(name: str) -> Address:
    """The daemon's address that a context has.

    :raises NotFound: there is no such context.
    :raises InvalidInput: its address is invalid.
    """
    store = Contexts()
    found = (store.metadata(name).get("Endpoints") or {}).get("docker") or {}
    address = parse_host(str(found.get("Host") or DEFAULT_HOST))
    files = {file: os.path.join(store.tls_path(name), "docker", file) for file in TLS_NAMES.values()}
    there = {file: path if os.path.exists(path) else None for file, path in files.items()}
    loose = bool(found.get("SkipTLSVerify"))
    if address.path is None and not address.ssh and (loose or any(there.values())):
        address.tls = TLSFiles(there["ca.pem"], there["cert.pem"], there["key.pem"], verify=not loose)
    return address


def _identity(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()


def _read_metadata(path: str) -> dict[str, Any]:
    import json

    with open(path, "rb") as file:
        found = json.loads(file.read(_MOST_METADATA))
    if not isinstance(found, dict) or not isinstance(found.get("Endpoints", {}), dict):
        raise ValueError("not a context")
    return found


def _write(path: str, data: bytes, mode: int) -> None:
    """Write a file, whole or not at all."""
    os.makedirs(os.path.dirname(path), mode=0o755 if mode == 0o644 else 0o700, exist_ok=True)
    unfinished = f"{path}.{os.getpid()}"
    try:
        with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode), "wb") as file:
            file.write(data)
        os.rename(unfinished, path)
    except BaseException:
        os.unlink(unfinished)
        raise
