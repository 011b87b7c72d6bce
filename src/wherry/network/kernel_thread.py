"""The helper thread in which everything is done that speaks with the kernel, and what it holds.

The kernel's answers come in microseconds as a rule; but making or removing an interface can wait for others to finish
with the kernel's big network lock, and the event loop must not. One thread does all of it, in the order of asking, so
that what was removed before something is added is also gone by then.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

from wherry.errors import SystemCallError
from wherry.linux import rtnetlink
from wherry.linux.fd import Fd
from wherry.linux.netlink import Family, NetlinkSocket
from wherry.linux.process import CLONE, setns, unshare

if TYPE_CHECKING:
    from wherry.network.firewall.firewall import Firewall

__all__ = ["Kernel", "read_sysctl", "write_sysctl"]

_P = ParamSpec("_P")
_T = TypeVar("_T")
_OWN_NAMESPACE: Final = "/proc/thread-self/ns/net"


class Kernel:
    """The kernel as seen from one network namespace, the host's as a rule: that of the thread that makes this object.

    All methods but `run`, `submit` and `close` are for the helper thread.

    :ivar has_no_firewall: the kernel has no nf_tables; found out by the first restore of the tables.
    :ivar alias: the ifalias of every interface of ours, by which they are recognised; also the name of our tables.
    """

    def __init__(self, alias: str) -> None:
        self.alias: Final = alias
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="network")
        self._home: Fd | None = None
        self._route: NetlinkSocket | None = None
        self._firewall: Firewall | None = None
        self.has_no_firewall = False
        self._dummies: bool | None = None

    # --- for the event loop

    async def run(self, job: Callable[_P, _T], *arguments: _P.args, **named: _P.kwargs) -> _T:
        """Have something done in the helper thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, lambda: job(*arguments, **named))

    def submit(self, job: Callable[[], _T]) -> asyncio.Future[_T]:
        """Have something done later; the future belongs to the running loop."""
        return asyncio.get_running_loop().run_in_executor(self._executor, job)

    async def close(self) -> None:
        """Wait for all jobs, and close the sockets."""
        await self.run(self._close)
        self._executor.shutdown()

    # --- for the helper thread

    @property
    def route(self) -> NetlinkSocket:
        """The conversation about links, addresses and routes."""
        if self._route is None:
            self._route = NetlinkSocket(Family.ROUTE)
        return self._route

    @property
    def firewall(self) -> Firewall:
        """The firewall's tables."""
        if self._firewall is None:
            from wherry.network.firewall.firewall import Firewall  # noqa: PLC0415 - the daemon answers before it needs this

            self._firewall = Firewall(self.alias)
        return self._firewall

    def own_firewall(self, held: Fd | None) -> int:
        """Own the tables, where this kernel can do that; before anything else is done with them.

        :param held: the socket of a former daemon, to which they belong.
        :returns: the descriptor of the socket to which they belong from now on.
        """
        from wherry.network.firewall.firewall import Firewall  # noqa: PLC0415 - the daemon answers before it needs this

        connection = None
        if held is not None:
            if _namespace_of(held.fileno()) == _namespace_of(self.route.fileno()):
                connection = NetlinkSocket.go_on(Family.NETFILTER, held.detach())
            else:  # the daemon has moved; once it is closed any program can change the tables there
                held.close()
        self._firewall = Firewall(self.alias, owned=True, connection=connection)
        return self.firewall_descriptor()

    def firewall_descriptor(self) -> int:
        """The descriptor of the socket to which the tables belong."""
        return self.firewall.fileno()

    @contextmanager
    def inside(self, namespace: int) -> Iterator[NetlinkSocket]:
        """Be in another network namespace, with a conversation about what is in there.

        :param namespace: its descriptor.
        """
        home = self._open_home()
        setns(namespace, CLONE.NEWNET)
        try:
            with NetlinkSocket(Family.ROUTE) as conversation:
                yield conversation
        finally:
            setns(home, CLONE.NEWNET)

    @contextmanager
    def inside_new(self) -> Iterator[tuple[Fd, NetlinkSocket]]:
        """Make a network namespace and be in it; its descriptor belongs to the caller."""
        home = self._open_home()
        unshare(CLONE.NEWNET)
        try:
            namespace = Fd(os.open(_OWN_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC))
            with NetlinkSocket(Family.ROUTE) as conversation:
                yield namespace, conversation
        finally:
            setns(home, CLONE.NEWNET)

    @property
    def has_dummies(self) -> bool:
        """Whether this kernel has interfaces that swallow what is sent to them; found out by making one."""
        if self._dummies is None:
            try:
                self.route.request(rtnetlink.dummy(_TRIAL))
                self.route.request(rtnetlink.delete_link(_TRIAL))
                self._dummies = True
            except SystemCallError as exc:
                if exc.errno != errno.EOPNOTSUPP:
                    raise
                self._dummies = False
        return self._dummies

    def _open_home(self) -> Fd:
        if self._home is None:
            self._home = Fd(os.open(_OWN_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC))
        return self._home

    def _close(self) -> None:
        for held in (self._home, self._route, self._firewall):
            if held is not None:
                held.close()
        self._home = self._route = self._firewall = None


_TRIAL: Final = "wherry-trial"
_SO_NETNS_COOKIE: Final = 71


def _namespace_of(netlink_socket: int) -> bytes:
    """A number for the network namespace that a socket is in; empty before Linux 5.14."""
    with socket.socket(fileno=os.dup(netlink_socket)) as copy:
        try:
            return copy.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
        except OSError:
            return b""


def read_sysctl(name: str) -> str | None:
    """A setting of the calling thread's network namespace, ``ipv4/ip_forward``; None when the kernel has no such."""
    try:
        return Path("/proc/sys/net", name).read_text().strip()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise SystemCallError("read", f"/proc/sys/net/{name}", exc.errno or 0) from exc


def write_sysctl(name: str, value: str) -> None:
    """Change a setting of the calling thread's network namespace.

    :raises SystemCallError: the kernel refuses, or has no such setting.
    """
    try:
        fd = os.open(f"/proc/sys/net/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)
    except OSError as exc:
        raise SystemCallError("write", f"'{value}' to /proc/sys/net/{name}", exc.errno or 0) from exc
