"""Connections through the ssh program to a daemon on another machine: ``ssh://user@host:port/path/to.sock``.

On the other side ``wherry system dial-stdio`` connects the standard streams to its daemon, or docker's command of that
name does. ssh's own configuration applies: keys, agents, proxies, connections that are shared (``ControlMaster``).
"""

from __future__ import annotations

import os
import shlex
import socket
import subprocess

from wherry.errors import CommandNotFound, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.client.address import Address

__all__ = ["connect", "ssh_command"]

CONNECT_SECONDS = 30
_END_SECONDS = 5.0
_MOST_SAID = 4096


def ssh_command(address: Address) -> list[str]:
    """The command line of ssh for one connection.

    Options end before the host, so that no part of an address is taken for one.
    """
    words = ["ssh", "-o", f"ConnectTimeout={CONNECT_SECONDS}", "-T"]
    if address.user:
        words += ["-l", address.user]
    if address.port:
        words += ["-p", str(address.port)]
    return [*words, "--", address.host, _remote_command(address.remote_path)]


def _remote_command(path: str) -> str:
    """What the other side's shell is given; it may be any shell, so all but one word is for ``sh``."""
    host = f" --host unix://{shlex.quote(path)}" if path else ""
    script = (
        f"if command -v wherry >/dev/null 2>&1; then exec wherry{host} system dial-stdio; "
        f"else exec docker{host} system dial-stdio; fi"
    )
    return f"sh -c {shlex.quote(script)}"


def connect(address: Address) -> SSHSocket:
    """Start ssh for one connection.

    :raises CommandNotFound: there is no ssh.
    """
    ours, theirs = socket.socketpair()
    said = os.memfd_create("ssh")
    try:
        # A session of its own: ^C is for what runs in the container, and would end the connection (as docker does it).
        process = subprocess.Popen(
            ssh_command(address), stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=said, start_new_session=True
        )
    except BaseException as error:
        ours.close()
        os.close(said)
        if isinstance(error, FileNotFoundError):
            raise CommandNotFound("there is no ssh program", hint="on Debian: apt install openssh-client") from error
        raise
    finally:
        theirs.close()
    return SSHSocket(ours, process, said, address.text)


class SSHSocket:
    """One end of a pair of sockets; the other one is ssh's standard input and output."""

    def __init__(self, sock: socket.socket, process: subprocess.Popen[bytes], said: int, text: str) -> None:
        self._sock = sock
        self._process = process
        self._said = said
        self._text = text
        self._answered = False

    def recv(self, size: int, /) -> bytes:
        """Receive bytes.

        :raises Unavailable: ssh ended before there were any; the cause is what it said.
        """
        try:
            data = self._sock.recv(size)
        except ConnectionResetError:  # ssh left with our bytes unread
            data = b""
        if data:
            self._answered = True
        elif not self._answered:
            raise self._failure()
        return data

    def _failure(self) -> Unavailable:
        try:
            status = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            status = 0
        said = os.pread(self._said, _MOST_SAID, 0).decode(errors="replace").strip()
        return Unavailable(
            f"cannot connect to the daemon at {self._text}",
            cause="; ".join(line.strip() for line in said.splitlines()) or f"ssh ended with status {status}",
            hint="ssh needs to get there without a password, and wherry or docker has to be installed there",
        )

    def send(self, data: bytes, /) -> int:
        """See :meth:`socket.socket.send`."""
        return self._sock.send(data)

    def sendall(self, data: bytes, /) -> None:
        """See :meth:`socket.socket.sendall`."""
        self._sock.sendall(data)

    def shutdown(self, how: int, /) -> None:
        """End a direction."""
        self._sock.shutdown(how)

    def setblocking(self, flag: bool, /) -> None:
        """See :meth:`socket.socket.setblocking`."""
        self._sock.setblocking(flag)

    def settimeout(self, seconds: float | None, /) -> None:
        """See :meth:`socket.socket.settimeout`."""
        self._sock.settimeout(seconds)

    def fileno(self) -> int:
        """See :meth:`socket.socket.fileno`."""
        return self._sock.fileno()

    def close(self) -> None:
        """Close the connection, and end ssh."""
        self._sock.close()
        if self._said < 0:
            return
        os.close(self._said)
        self._said = -1
        self._process.terminate()
        self._process.wait()
