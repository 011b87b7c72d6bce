"""Listeners: unix sockets, sockets from systemd, TCP with mutual TLS."""

from __future__ import annotations

import grp
import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from wherry.errors import Conflict, InvalidInput, SystemFault

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from wherry.daemon.options import Options, Tls

DOCKER_SOCKET: Final = Path("/var/run/docker.sock")
SOCKET_MODE: Final = 0o660
BACKLOG: Final = 4096
FIRST_PASSED_FD: Final = 3  #: sd_listen_fds(3)
DEFAULT_TLS_PORT: Final = 2376


@dataclass(slots=True)
class Listener:
    """One bound, listening socket."""

    host: str  #: as a client writes it
    socket: socket.socket
    path: Path | None = None  #: of a unix socket that we made and remove
    tls: ssl.SSLContext | None = None

    def close(self) -> None:
        """Listen no more, and leave no file behind."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
            self.path = None
        self.socket.close()


def open_listeners(options: Options, environment: Mapping[str, str]) -> list[Listener]:
    """Return a listener for every address in the options.

    :raises InvalidInput: a host that is not understood, or TCP without mutual TLS.
    :raises Conflict: somebody else listens there.
    """
    opened: list[Listener] = []
    try:
        for host in options.hosts:
            opened += _open(host, options, environment)
        if options.docker_socket:
            opened.append(_open_unix(DOCKER_SOCKET, _group_id(options.group, "docker")))
    except BaseException:
        for listener in opened:
            listener.close()
        raise
    return opened


def _open(host: str, options: Options, environment: Mapping[str, str]) -> list[Listener]:
    scheme, separator, rest = host.partition("://")
    if scheme == "unix" and rest.startswith("/"):
        return [_open_unix(Path(rest), _group_id(options.group, "wherry"))]
    if scheme == "fd" and separator:
        return _passed_by_systemd(environment)
    if scheme == "tcp" and separator:
        return [_open_tcp(host, rest, options.tls)]
    raise InvalidInput(f'invalid host "{host}": it must be unix:///PATH, fd:// or tcp://HOST:PORT')


def _group_id(name: str | None, fallback: str) -> int:
    """Return the group that may connect; only a group that was asked for has to exist.

    Who is not root may only give files to groups of their own, so for them nothing is assumed.
    """
    if name is None and os.geteuid() != 0:
        return -1
    try:
        return grp.getgrnam(name or fallback).gr_gid
    except KeyError:
        if name is None:
            return -1
        if name.isdecimal():
            return int(name)
        raise InvalidInput(f'group "{name}" not found') from None


def _open_unix(path: Path, group: int) -> Listener:
    _make_way(path)
    path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _bind(listener, path)
        if group >= 0:
            os.chown(path, -1, group)
        path.chmod(SOCKET_MODE)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise SystemFault(f"unable to listen on unix://{path}", cause=(error.strerror or str(error)).lower()) from error
    return Listener(f"unix://{path}", listener, path)


def _bind(listener: socket.socket, path: Path) -> None:
    mask = os.umask(0o777 & ~0o600)  # nobody else between bind and chown
    try:
        listener.bind(str(path))
    finally:
        os.umask(mask)


def _make_way(path: Path) -> None:
    """Remove a stale socket; refuse one that is in use, or a file that is no socket."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise Conflict(f"unable to listen on unix://{path}: the file exists and is not a socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.settimeout(1)
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except FileNotFoundError:
            return
        except OSError:
            pass  # busy, or not ours to ask: in any case alive
    raise Conflict(f"unable to listen on unix://{path}: another process listens there")


def _passed_by_systemd(environment: Mapping[str, str]) -> list[Listener]:
    """Return the sockets of socket activation (sd_listen_fds(3))."""
    count = int(environment.get("LISTEN_FDS", "0") or 0) if environment.get("LISTEN_PID") == str(os.getpid()) else 0
    if not count:
        raise InvalidInput(
            "no sockets were passed by systemd (LISTEN_FDS, LISTEN_PID)",
            hint="fd:// works in a unit with a socket only",
        )
    listeners = []
    for fd in range(FIRST_PASSED_FD, FIRST_PASSED_FD + count):
        os.set_inheritable(fd, False)
        listeners.append(Listener(f"fd://{fd}", socket.socket(fileno=fd)))
    return listeners


def _open_tcp(host: str, address: str, tls: Tls | None) -> Listener:
    if tls is None:
        raise InvalidInput(
            f"refused to listen on {host} without mutual TLS: whoever reaches it would be root on this machine",
            hint="give --tlsverify, --tlscacert, --tlscert and --tlskey",
        )
    return open_tcp(host, address, _tls_context(tls))


def open_tcp(host: str, address: str, context: ssl.SSLContext | None = None) -> Listener:
    """Listen on an address of TCP.

    :param host: how it is called in errors.
    :param address: ``HOST:PORT``; without a port it is that of TLS.
    :raises InvalidInput: it is no address.
    :raises SystemFault: it cannot be listened on.
    """
    name, _, port = (
        address.rpartition(":") if ":" in address.rpartition("]")[2] else (address, "", str(DEFAULT_TLS_PORT))
    )
    if not port.isdecimal():
        raise InvalidInput(f'invalid port "{port}" in {host}')
    try:
        family, kind, _, _, where = socket.getaddrinfo(
            name.strip("[]") or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
    except OSError as error:
        raise SystemFault(f"unable to listen on {host}", cause=(error.strerror or str(error)).lower()) from error
    listener.listen(BACKLOG)
    return Listener(host, listener, tls=context)


def _tls_context(tls: Tls) -> ssl.SSLContext:
    """Return a context that lets in only clients whose certificate the CA has signed."""
    import ssl  # noqa: PLC0415 - megabytes, and nearly no daemon listens on TCP

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(tls.ca)
        context.load_cert_chain(tls.certificate, tls.key)
    except OSError as error:  # SSLError is one
        raise InvalidInput("unable to use the TLS certificates", cause=str(error)) from error
    return context
