"""Create a container from flags, for ``run`` and ``create``."""

from __future__ import annotations

import os
import sys

from wherry.cli.console import write_error
from wherry.cli.create.body import create_body

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["build_body", "create"]


def _invalid(message: str) -> Exception:
    from wherry.errors import InvalidInput

    return InvalidInput(message)


def build_body(options: Options, arguments: list[str]) -> dict[str, Any]:
    """Check the flags, and make the body; see :func:`wherry.cli.create.body.create_body`."""
    if options["pull"] not in ("always", "missing", "never"):
        raise _invalid(f'invalid pull option: \'{options["pull"]}\': must be one of "always", "missing" or "never"')
    if options["platform"]:
        from wherry.cli.flags.platforms import check_platform

        check_platform(options["platform"], "error parsing specified platform: ")
    body = create_body(options, arguments[0], arguments[1:])
    if options["tty"]:
        from wherry.cli.terminal.terminal import terminal_size

        body["HostConfig"]["ConsoleSize"] = list(terminal_size() or (0, 0))
    return body


def create(context: Context, options: Options, body: dict[str, Any]) -> str:
    """Create the container; pull its image if ``--pull`` says so. :returns: its ID."""
    credentials = {}
    if options["use-api-socket"]:
        from wherry.cli.create.api_socket import add_api_socket

        credentials = add_api_socket(context, body)
    cidfile = _CidFile(options["cidfile"])
    try:
        created = _create_or_pull(context, options, body)
        cidfile.write(created["Id"])
    finally:
        cidfile.close()
    if credentials:
        from wherry.cli.create.api_socket import deliver_credentials

        deliver_credentials(context, created["Id"], credentials)
    for warning in created.get("Warnings") or ():
        write_error("WARNING: {}\n", warning)
    return str(created["Id"])


def _create_or_pull(context: Context, options: Options, body: dict[str, Any]) -> dict[str, Any]:
    image = body["Image"]
    if options["pull"] == "always":
        _pull(context, options, image)
    containers = context.client.containers
    try:
        return containers.create(body, name=options["name"], platform=options["platform"])
    except Exception as error:
        if options["pull"] != "missing" or not _lacks_image(error):
            raise
    from wherry.docker.reference import familiar

    write_error("Unable to find image '{}' locally\n", familiar(image))
    _pull(context, options, image)
    return containers.create(body, name=options["name"], platform=options["platform"])


def _lacks_image(error: Exception) -> bool:
    from wherry.errors import NotFound

    return isinstance(error, NotFound) and "image" in str(error).lower()


def _pull(context: Context, options: Options, image: str) -> None:
    from wherry.cli.output.transfers import show_transfer
    from wherry.cli.registry.credentials import auth_header
    from wherry.docker.reference import repository_and_tag

    name, tag = repository_and_tag(image)
    messages = context.client.images.pull(name, tag, platform=options["platform"], headers=auth_header(image))
    show_transfer(messages, sys.stderr, quiet=options["quiet"])


class _CidFile:
    """The file for the new container's ID; it must not exist, so that no other container's ID is lost."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1
        self._written = False
        if not path:
            return
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except FileExistsError:
            raise _invalid(
                f"container ID file found, make sure the other container isn't running or delete {path}"
            ) from None
        except OSError as error:
            reason = os.strerror(error.errno or 0).lower()
            raise _invalid(f"failed to create the container ID file: open {path}: {reason}") from error

    def write(self, container: str) -> None:
        if self._fd >= 0:
            os.write(self._fd, container.encode())
            self._written = True

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            if not self._written:
                os.unlink(self._path)
