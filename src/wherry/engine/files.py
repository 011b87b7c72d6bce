"""The directories and generated files of a container."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from wherry.engine.container import Container
from wherry.engine.spec import hostname_of
from wherry.errors import SystemFault

__all__ = ["make_data_directories", "make_run_directory", "remove_run_directory", "remove_tree", "set_aside"]

_HOSTS: Final = (
    "127.0.0.1\tlocalhost\n"
    "::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::\tip6-localnet\n"
    "ff00::\tip6-mcastprefix\n"
    "ff02::1\tip6-allnodes\n"
    "ff02::2\tip6-allrouters\n"
)


def make_data_directories(container: Container) -> None:
    """Make the directory that holds a container's writable layer.

    :raises SystemFault: it cannot be made; ``OutOfSpace`` comes from the caller's translation.
    """
    os.mkdir(container.directory, 0o710)


def make_run_directory(container: Container) -> None:
    """Make what exists of a container only while the machine runs: FIFOs' place and the files in its /etc."""
    directory = container.run_directory
    os.makedirs(directory, 0o710, exist_ok=True)
    if container.host.ipc_mode == "shareable" and not (directory / "shm").is_dir():
        os.mkdir(directory / "shm")
        os.chmod(directory / "shm", 0o1777)
    _write(directory / "hostname", hostname_of(container) + "\n")
    _write(directory / "hosts", _hosts(container))
    _write(directory / "resolv.conf", _resolv_conf(container))


def _write(path: Path, text: str) -> None:
    """Write a file that containers see: theirs to read whatever their user is, and to write as root."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        os.fchmod(fd, 0o644)
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _hosts(container: Container) -> str:
    extra = [_extra_host(entry) for entry in container.host.extra_hosts or []]
    if container.host.network_mode == "host":
        return _read("/etc/hosts") + "".join(extra)
    return _HOSTS + "".join(extra)


def _extra_host(entry: str) -> str:
    name, _, address = entry.partition(":")
    return f"{address.strip('[]')}\t{name}\n"


def _resolv_conf(container: Container) -> str:
    host = container.host
    text = _read("/etc/resolv.conf")
    if not (host.dns or host.dns_search or host.dns_options):
        return text
    lines = text.splitlines()
    for keyword, chosen in (("nameserver", host.dns), ("search", host.dns_search), ("options", host.dns_options)):
        if chosen:
            lines = [line for line in lines if line.split()[:1] != [keyword]]
            joined = (
                [f"nameserver {one}" for one in chosen]
                if keyword == "nameserver"
                else [f"{keyword} {' '.join(chosen)}"]
            )
            lines += joined
    return "\n".join(lines) + "\n"


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""  # a host without the file; so the container has an empty one


def remove_run_directory(container: Container) -> None:
    """Remove the run directory; nothing happens when there is none."""
    shutil.rmtree(container.run_directory, ignore_errors=True)


def set_aside(container: Container, trash: Path) -> Path | None:
    """Move a container's data out of the way in one step; what is returned is to be removed with `remove_tree`."""
    target = trash / f"removed-{container.id}"
    try:
        os.rename(container.directory, target)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise SystemFault(f"cannot remove the directory '{container.directory}'", cause=str(exc)) from exc
    return target


def remove_tree(path: Path) -> None:
    """Remove a directory with all that is below it; a missing one is no error."""
    shutil.rmtree(path, ignore_errors=True)
