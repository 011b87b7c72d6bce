"""A conversation over D-Bus with a manager of units; blocking, and with a bound on each answer.

jeepney writes and reads the messages; see the D-Bus specification and org.freedesktop.systemd1(5). systemd's own socket
is asked first: it needs no bus, and only its owner can open it.
"""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from wherry.errors import Unavailable, Unsupported

__all__ = ["PATIENCE", "Conversation", "Refused"]

#: Seconds for an answer; systemd gives its jobs longer, and a start must end some time.
PATIENCE: Final = 25.0
#: Seconds for a greeting, and how often it is tried: a systemd that has just begun may overlook one.
_GREETING: Final = 2.0
_GREETINGS: Final = 10
_SYSTEMD: Final = "org.freedesktop.systemd1"
_LONGEST_ANSWER: Final = 4096
_BUS: Final = "org.freedesktop.DBus"
_MATCH: Final = f"type='signal',sender='{_SYSTEMD}',interface='{_SYSTEMD}.Manager',member='JobRemoved'"


class Refused(Exception):
    """The other side answered with an error.

    :ivar name: D-Bus's, ``org.freedesktop.systemd1.NoSuchUnit``.
    """

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"systemd: {text}")
        self.name: Final = name


class Conversation:
    """A connection to systemd's manager; a context manager.

    :param user: whether to the user's and not the system's.
    :raises Unsupported: systemd does not run, or jeepney is not installed.
    """

    def __init__(self, *, user: bool) -> None:
        try:
            import jeepney  # noqa: PLC0415  only who has systemd needs it
        except ImportError as error:
            hint = "install it: pip install jeepney"
            raise Unsupported("systemd cannot be asked without the Python package jeepney", hint=hint) from error
        self._jeepney: Final = jeepney
        self._parser: Any = jeepney.Parser()
        self._serial = 0
        self._signals: deque[Any] = deque()
        self._socket: socket.socket = self._connected(user)

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it."""
        self._socket.close()

    def _connected(self, user: bool) -> socket.socket:
        refusals = []
        for path, is_bus in _sockets(user):
            try:
                connection = self._greeted(path)
            except (OSError, ValueError) as error:
                refusals.append(f"{path}: {error}")
                continue
            if is_bus:
                self._join_bus(connection)
            return connection
        whose = "the user's systemd" if user else "systemd"
        raise Unsupported(f"{whose} cannot be reached", cause="; ".join(refusals) or "no socket is known")

    def _greeted(self, path: str) -> socket.socket:
        """A connection on which we have said who we are."""
        for _ in range(_GREETINGS - 1):
            with suppress(TimeoutError):
                return self._greeted_once(path)
        return self._greeted_once(path)

    def _greeted_once(self, path: str) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            connection.settimeout(_GREETING)
            connection.connect(path)
            self._authenticate(connection)
            connection.settimeout(PATIENCE)
        except BaseException:
            connection.close()
            raise
        return connection

    @staticmethod
    def _authenticate(connection: socket.socket) -> None:
        """Say who we are; the kernel vouches for it.

        The end of that, BEGIN, goes with it: systemd overlooks a message that arrives in one piece with BEGIN.
        """
        connection.sendall(b"\0AUTH EXTERNAL %b\r\nBEGIN\r\n" % str(_uid_outside()).encode().hex().encode())
        answer = b""
        while not answer.endswith(b"\r\n"):
            more = connection.recv(1024)
            if not more or len(answer) > _LONGEST_ANSWER:
                raise ValueError("it hung up")
            answer += more
        if not answer.startswith(b"OK "):
            raise ValueError(f"it does not let us in: {answer!r}")

    def _join_bus(self, connection: socket.socket) -> None:
        self._socket = connection
        self.call("Hello", interface=_BUS, path="/org/freedesktop/DBus", destination=_BUS)
        self.call("AddMatch", "s", (_MATCH,), interface=_BUS, path="/org/freedesktop/DBus", destination=_BUS)

    def call(
        self,
        member: str,
        signature: str | None = None,
        body: tuple[Any, ...] = (),
        *,
        interface: str = f"{_SYSTEMD}.Manager",
        path: str = "/org/freedesktop/systemd1",
        destination: str = _SYSTEMD,
    ) -> tuple[Any, ...]:
        """Call a method and return its results.

        :raises Refused: an error came back.
        :raises Unavailable: no answer came in time.
        """
        address = self._jeepney.DBusAddress(path, bus_name=destination, interface=interface)
        message = self._jeepney.new_method_call(address, member, signature, body)
        self._serial += 1
        self._guarded(lambda: self._socket.sendall(message.serialise(self._serial)))
        deadline = time.monotonic() + PATIENCE
        fields, kinds = self._jeepney.HeaderFields, self._jeepney.MessageType
        while True:
            answer = self._receive(deadline)
            if answer.header.message_type is kinds.signal:
                self._signals.append(answer)
            elif answer.header.fields.get(fields.reply_serial) == self._serial:
                break
        if answer.header.message_type is kinds.error:
            name = str(answer.header.fields.get(fields.error_name, ""))
            raise Refused(name, str(answer.body[0]) if answer.body else name)
        return tuple(answer.body)

    def await_signal(self, member: str, fits: Callable[[tuple[Any, ...]], bool]) -> tuple[Any, ...]:
        """Wait for a signal, which may have come already.

        :raises Unavailable: it does not come in time.
        """
        deadline = time.monotonic() + PATIENCE
        while True:
            message = self._signals.popleft() if self._signals else self._receive(deadline)
            if message.header.fields.get(self._jeepney.HeaderFields.member) == member and fits(tuple(message.body)):
                return tuple(message.body)

    def _receive(self, deadline: float) -> Any:
        while (message := self._parser.get_next_message()) is None:
            self._guarded(lambda: self._parser.add_data(self._read(deadline)))
        return message

    def _read(self, deadline: float) -> bytes:
        self._socket.settimeout(max(0.001, deadline - time.monotonic()))
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionResetError(0, "it hung up")
        return data

    @staticmethod
    def _guarded(action: Callable[[], object]) -> None:
        try:
            action()
        except TimeoutError as error:
            raise Unavailable(f"systemd does not answer within {PATIENCE:g} seconds") from error
        except OSError as error:
            raise Unavailable("the connection to systemd broke", cause=error.strerror or str(error)) from error


def _uid_outside() -> int:
    """This process's user as systemd sees it, which is outside of the user namespace in which one may be root."""
    uid = os.geteuid()
    with open("/proc/self/uid_map", encoding="ascii") as file:
        for inside, outside, count in (map(int, line.split()) for line in file):
            if inside <= uid < inside + count:
                return outside + uid - inside
    return uid


def _sockets(user: bool) -> list[tuple[str, bool]]:
    """Where systemd may be reached, and whether that is a bus."""
    if not user:
        return [("/run/systemd/private", False), ("/run/dbus/system_bus_socket", True)]
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{_uid_outside()}"
    found = [(f"{runtime}/systemd/private", False), (f"{runtime}/bus", True)]
    with suppress(ValueError):
        address = os.environ.get("DBUS_SESSION_BUS_ADDRESS", "")
        found += [(path, True) for path in [_unix_path(address)] if path and (path, True) not in found]
    return found


def _unix_path(address: str) -> str:
    """Return the path of ``unix:path=...``; empty for other addresses."""
    for part in address.removeprefix("unix:").split(",") if address.startswith("unix:") else ():
        if part.startswith("path="):
            return part.removeprefix("path=")
    return ""
