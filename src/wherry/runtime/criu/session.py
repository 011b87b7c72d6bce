"""One request to criu, from its start to its end."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

from wherry import legible
from wherry.errors import CorruptData, SystemFault, Unavailable, Unsupported
from wherry.linux.fd import Fd
from wherry.linux.scm_rights import receive_fds
from wherry.runtime.criu.cgroup_options import CgroupOptions
from wherry.runtime.criu.messages import GO_ON, REFUSE, Kind, Options, Response, request

__all__ = ["PATIENCE", "Session", "find", "network_lock"]

#: Seconds in which criu has to write something, to its log or to the image.
PATIENCE: Final = 120.0
_GLANCE: Final = 5.0
#: Seconds in which it tidies up what it has begun.
_FAREWELL: Final = 1.0
_LARGEST: Final = 1 << 16
_LAST_OF_LOG: Final = 1 << 16
_ERROR: Final = re.compile(rb"^(?:\([0-9.]+\) *)?(?:[0-9]+: )?Error \([^)]*\): (.*)$", re.MULTILINE)
_NFTABLES: Final = 2
#: What a log calls an error and is none, or is no more than that there was one.
_NO_REASONS: Final = ("Dumping FAILED", "Restoring FAILED", "rlimit:", "tun:")
_SEARCH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

Notified = Callable[[Response, "list[Fd]"], None]


def find(program: str) -> str:
    """Return the path of criu.

    :param program: as it was given; empty to look for it.
    :raises Unsupported: there is none.
    """
    found = _which(program or "criu")
    if found is None:
        raise Unsupported(
            f"there is no program {program or 'criu'!r}, which makes and restores checkpoints",
            hint="install the package criu, or say where it is",
        )
    return os.path.abspath(found)


def _which(program: str) -> str | None:
    return shutil.which(program, path=os.pathsep.join(filter(None, (os.environ.get("PATH"), _SEARCH))))


def network_lock() -> int:
    """Return by what criu holds packets back while it works (``criu_network_lock_method``).

    By nftables, through its library, where the programs are missing that it asks otherwise.
    """
    return 0 if all(_which(name) for name in ("iptables-restore", "ip6tables-restore")) else _NFTABLES


class Session:
    """A process of criu's that waits for its request.

    :param program: its path.
    :param kept: descriptors that it inherits under their numbers.
    :raises SystemFault: it cannot be started.
    """

    def __init__(self, program: str, kept: Iterable[int] = ()) -> None:
        self._cgroup_options: Final = CgroupOptions()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        with theirs:
            try:
                self._process: Final = subprocess.Popen(
                    [program, "swrk", str(theirs.fileno())],
                    pass_fds=(theirs.fileno(), *kept),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd="/",
                    restore_signals=True,
                )
            except OSError as error:
                self._socket.close()
                raise SystemFault(f"{program!r} cannot be executed", cause=(error.strerror or "").lower()) from error

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._cgroup_options.put_back()

    def ask(
        self, kind: Kind, options: Options, *, work: int, images: int, notified: Notified, patience: float = PATIENCE
    ) -> Response:
        """Have something done, and wait for that.

        :param work: the directory with its log; and ``images`` that of the image: who writes in neither hangs.
        :param notified: called for each notification, with what came along; an error ends the request.
        :param patience: seconds for it to write something.
        :raises SystemFault: criu could not do it, or has ended.
        :raises Unavailable: it hangs.
        """
        log = str(options.plain.get("log_file", ""))
        try:
            self._socket.send(request(kind, options))
            while True:
                self._await((work, images), patience)
                data, numbers = receive_fds(self._socket, _LARGEST, 1)
                fds = [Fd(number) for number in numbers]
                self._cgroup_options.put_back()  # as early as may be: criu works for seconds
                if not data:
                    raise _failure("it has ended", work, log)
                response = Response.read(data)
                if response.kind != Kind.NOTIFY:
                    break
                self._answer(response, fds, notified)
        except OSError as error:
            raise _failure((error.strerror or str(error)).lower(), work, log) from error
        except CorruptData as error:
            raise SystemFault("criu does not keep to its protocol", cause=str(error)) from error
        if not response.success:
            reason = response.text or (os.strerror(response.errno).lower() if response.errno > 0 else "")
            raise _failure(reason or f"type {Kind(kind).name} errno {response.errno}", work, log)
        return response

    def _answer(self, response: Response, fds: list[Fd], notified: Notified) -> None:
        try:
            notified(response, fds)
        except BaseException:
            with suppress(OSError):
                self._socket.send(REFUSE)
                self._drain()
            raise
        self._socket.send(GO_ON)

    def _drain(self) -> None:
        """Let it tidy up what it has begun, until it ends."""
        self._socket.settimeout(_FAREWELL)
        while data := self._socket.recv(_LARGEST):
            if Response.read(data).kind != Kind.NOTIFY:
                return
            self._socket.send(REFUSE)

    def _await(self, directories: tuple[int, ...], patience: float) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        written, since = _written(directories), time.monotonic()
        while not poll.poll(1000 * min(_GLANCE, patience)):
            if (now := _written(directories)) != written:
                written, since = now, time.monotonic()
            elif time.monotonic() - since >= patience:
                raise Unavailable(f"criu has written nothing for {patience:g} seconds, and was ended")


def _written(directories: tuple[int, ...]) -> int:
    """The size of all files, which grows as long as something goes on."""
    total = 0
    for directory in directories:
        for name in os.listdir(directory):
            with suppress(FileNotFoundError):
                total += os.stat(name, dir_fd=directory, follow_symlinks=False).st_size
    return total


def _failure(reason: str, work: int, log: str) -> SystemFault:
    """What criu's log says, and where it is."""
    place = f"{os.readlink(f'/proc/self/fd/{work}')}/{log}"
    said = _last_errors(work, log)
    return SystemFault(f"criu failed: {said or reason}", hint=f"log file: {place}")


def _last_errors(work: int, log: str) -> str:
    """The last errors of a log, which is read as far as it is a file."""
    try:
        fd = os.open(log, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=work)
    except OSError:
        return ""
    with open(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            return ""
        file.seek(max(0, status.st_size - _LAST_OF_LOG))
        found = [text.decode(errors="replace") for text in _ERROR.findall(file.read(_LAST_OF_LOG))]
    wanted = [text for text in found if not text.startswith(_NO_REASONS)]
    return legible.line("; ".join(wanted[-3:]))
