"""Docker's configuration of the command line: the folder, and its ``config.json``, shared with the docker command."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["config_folder", "config_path", "read_config", "write_config"]


def config_folder() -> str:
    """``$DOCKER_CONFIG``, else ``~/.docker``."""
    return os.environ.get("DOCKER_CONFIG") or os.path.join(os.path.expanduser("~"), ".docker")


def config_path() -> str:
    """The configuration file."""
    return os.path.join(config_folder(), "config.json")


def read_config() -> dict[str, Any]:
    """Read it; one that is missing is empty.

    :raises wherry.errors.InvalidInput: it cannot be read.
    """
    from wherry.client.codec import decode
    from wherry.errors import InvalidInput

    path = config_path()
    try:
        with open(path, "rb") as file:
            config = decode(file.read() or b"{}")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InvalidInput(f"cannot read {path}", cause=str(error)) from error
    if not isinstance(config, dict):
        raise InvalidInput(f"cannot read {path}", cause="not a JSON object")
    return config


def write_config(config: dict[str, Any]) -> None:
    """Replace the file atomically, readable by its owner only; other settings in it are kept."""
    import json

    path = os.path.realpath(config_path())
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    unfinished = f"{path}.{os.getpid()}"
    fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "w", encoding="utf-8") as file:
            json.dump(config, file, indent="\t")
            file.flush()
            os.fsync(file.fileno())
        os.rename(unfinished, path)
    except BaseException:
        os.unlink(unfinished)
        raise
