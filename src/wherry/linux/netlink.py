"""Netlink messages and sockets, for links, addresses, routes and firewall rules.

The codec and the conversation, without a word of any family: `wherry.linux.rtnetlink` and `wherry.linux.nftables` speak
through it. See netlink(7) and Documentation/userspace-api/netlink/intro.rst.

A request is one message; a *batch* is many messages in one sendmsg(2), each acknowledged by itself. Attributes are
``bytes``, built with `attribute` and its kin and joined with ``+``; answers are taken apart with `attributes`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from enum import IntEnum, IntFlag
from typing import Final, NamedTuple

from wherry.errors import SystemCallError

__all__ = [
    "NLM_F",
    "Family",
    "Message",
    "NetlinkSocket",
    "attribute",
    "attribute_list",
    "attributes",
    "nested",
    "number",
    "text",
]

_HEADER: Final = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ATTRIBUTE: Final = struct.Struct("=HH")
_ERROR: Final = struct.Struct("=i")
_SOL_NETLINK, _CAP_ACK, _EXT_ACK, _STRICT, _ADD_MEMBERSHIP = 270, 10, 11, 12, 1
_NLMSG_ERROR, _NLMSG_DONE, _NLMSG_OVERRUN = 2, 3, 4
_NESTED: Final = 0x8000
_TYPE_MASK: Final = 0x3FFF
_ACK_MESSAGE, _ACK_OFFSET = 1, 2  # NLMSGERR_ATTR_MSG, NLMSGERR_ATTR_OFFS
_RECEIVE_BUFFER: Final = 1 << 20
_CHUNK: Final = 1 << 18


class Family(IntEnum):
    """Netlink families that wherry speaks."""

    ROUTE = 0
    SOCK_DIAG = 4
    NETFILTER = 12


class NLM_F(IntFlag):
    """Flags of a message's header."""

    REQUEST = 0x1
    MULTI = 0x2
    ACK = 0x4
    ECHO = 0x8
    ROOT = 0x100
    MATCH = 0x200
    DUMP = 0x300
    REPLACE = 0x100
    EXCL = 0x200
    CREATE = 0x400
    APPEND = 0x800


class Message(NamedTuple):
    """One message: what is asked, or what came back.

    :ivar kind: the message type, as ``RTM_NEWLINK``.
    :ivar body: the family's own header and the attributes, without the netlink header.
    :ivar flags: what is wanted besides ``REQUEST`` (and ``ACK``, which a request always gets).
    :ivar what: for an error's text: the operation and its operand, as ``set link 'eth0'``.
    :ivar port: of an event: the port of the socket that caused it, where the kernel says so.
    """

    kind: int
    body: bytes
    flags: int = 0
    what: str = ""
    port: int = 0


# -------------------------------------------------------------------------------------------------------------- codec


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    length = 4 + len(payload)
    return _ATTRIBUTE.pack(length, kind) + payload + b"\0" * (-length & 3)


def nested(kind: int, *inside: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | _NESTED, b"".join(inside))


def text(kind: int, value: str) -> bytes:
    """An attribute that is a string, with its terminating zero."""
    return attribute(kind, os.fsencode(value) + b"\0")


def number(kind: int, value: int, width: int = 4, *, network_order: bool = False) -> bytes:
    """An attribute that is an unsigned integer of `width` bytes, in the machine's byte order unless told otherwise."""
    order = "big" if network_order else "little" if _IS_LITTLE else "big"
    return attribute(kind, value.to_bytes(width, order))  # type: ignore[arg-type]


_IS_LITTLE: Final = struct.pack("=H", 1) == b"\1\0"


def attributes(data: bytes | memoryview, offset: int = 0) -> dict[int, bytes]:
    """Take attributes apart: type to payload; of several with one type the last counts.

    :param offset: where they begin: the length of the family's header.
    """
    return dict(attribute_list(data, offset))


def attribute_list(data: bytes | memoryview, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """Parse attributes in order; for lists, where one type occurs many times."""
    end = len(data)
    while offset + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4 or offset + length > end:
            return
        yield kind & _TYPE_MASK, bytes(data[offset + 4 : offset + length])
        offset += (length + 3) & ~3


# ------------------------------------------------------------------------------------------------------- conversation


class NetlinkSocket:
    """A conversation with the kernel about the network namespace that the calling thread was in when it was opened.

    Not for several threads at once. Requests block, for the microseconds that the kernel needs.

    :param family: whom to speak to.
    :param groups: numbers of the multicast groups to be told of (``RTNLGRP_LINK`` = 1 ...); on a socket of their own.
    :raises SystemCallError: socket(2), bind(2) or setsockopt(2) failed.
    """

    def __init__(self, family: Family, groups: Iterable[int] = ()) -> None:
        self._family = family
        self._sequence = 0
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family)
        except OSError as exc:
            raise _failed(f"open a netlink socket of family {family.name}", exc.errno or 0) from exc
        try:
            for option in (_CAP_ACK, _EXT_ACK):
                self._socket.setsockopt(_SOL_NETLINK, option, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            self._socket.bind((0, 0))
            for group in groups:
                self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
        except OSError as exc:
            self._socket.close()
            raise _failed(f"set up a netlink socket of family {family.name}", exc.errno or 0) from exc

    @classmethod
    def go_on(cls, family: Family, fileno: int) -> NetlinkSocket:
        """Take over a socket of another process, which does not use it any more.

        :param fileno: its descriptor, which the conversation owns from now on.
        """
        conversation = cls.__new__(cls)
        conversation._family, conversation._sequence = family, 0
        conversation._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, family, fileno=fileno)
        conversation._drain()
        return conversation

    def fileno(self) -> int:
        """The descriptor, for an event loop."""
        return self._socket.fileno()

    @property
    def port(self) -> int:
        """Its address: what an event carries that this conversation caused."""
        return int(self._socket.getsockname()[0])

    def ignore(self, port: int) -> None:
        """Filter out events that another socket of ours has caused, in the kernel.

        Without such filters (a kernel without classic BPF for sockets) all are told.
        """
        program = b"".join(_BPF.pack(*each) for each in _without(port))
        held = ctypes.create_string_buffer(program)
        described = struct.pack("@HP", len(program) // _BPF.size, ctypes.addressof(held))
        with suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)

    def close(self) -> None:
        """End the conversation."""
        self._socket.close()

    def __enter__(self) -> NetlinkSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def request(self, message: Message) -> None:
        """Ask for one thing to be done.

        :raises SystemCallError: the kernel refuses; its errno, and its own words where it has some.
        """
        self.batch([message])

    def batch(self, messages: Sequence[Message]) -> None:
        """Ask for several things in one system call. They are done in order; one that fails does not stop the rest.

        :raises SystemCallError: the first that the kernel refuses; the others were done nevertheless.
        """
        if not messages:
            return
        first = self._sequence + 1
        last = first + len(messages) - 1
        self._send_raw(self._with_one_answer(messages))
        failure: SystemCallError | None = None
        is_answered = False
        while not is_answered:
            for kind, sequence, flags, body, _ in self._receive():
                if kind == _NLMSG_ERROR and first <= sequence <= last:
                    is_answered |= sequence == last
                    failure = failure or _refusal(body, flags, messages[sequence - first].what)
        if failure is not None:
            raise failure

    def transaction(self, messages: Sequence[Message], begin: Message, end: Message) -> None:
        """All or nothing: nfnetlink's batches, of which the frame (``NFNL_MSG_BATCH_BEGIN``) is not acknowledged.

        The last message's answer comes when all is done, or undone; before it comes what was refused.

        :raises SystemCallError: the first that the kernel refuses; nothing was done.
        """
        first = self._sequence + 2
        self._send_raw(
            self._encode(begin, NLM_F.REQUEST) + self._with_one_answer(messages) + self._encode(end, NLM_F.REQUEST)
        )
        failure: SystemCallError | None = None
        is_answered = not messages
        while not is_answered:
            for kind, sequence, flags, body, _ in self._receive():
                if kind != _NLMSG_ERROR:
                    continue
                if not first <= sequence < first + len(messages):  # the frame itself: the batch as a whole is refused
                    raise _refusal(body, flags, begin.what) or _failed(begin.what, errno.EPROTO)
                is_answered |= sequence == first + len(messages) - 1
                failure = failure or _refusal(body, flags, messages[sequence - first].what)
            if failure is not None:
                self._drain()
                raise failure

    def dump(self, message: Message) -> list[Message]:
        """Ask for a list.

        :returns: the messages of the answer.
        :raises SystemCallError: the kernel refuses, or the list changed under its hands (EINTR: ask again).
        """
        sequence = self._send([message], NLM_F.REQUEST | NLM_F.DUMP)
        found: list[Message] = []
        while True:
            for kind, number_, flags, body, _ in self._receive():
                if number_ != sequence:
                    continue
                if kind in (_NLMSG_ERROR, _NLMSG_DONE):
                    failure = _refusal(body, flags, message.what) if len(body) >= 4 else None
                    if failure is not None:
                        raise failure
                    return found
                found.append(Message(kind, body, flags))

    def ask(self, message: Message) -> Message:
        """Ask for one thing to be shown.

        :raises SystemCallError: the kernel refuses, or there is no such thing.
        """
        sequence = self._send([message], NLM_F.REQUEST)
        while True:
            for kind, number_, flags, body, _ in self._receive():
                if number_ != sequence:
                    continue
                if kind == _NLMSG_ERROR:
                    raise _refusal(body, flags, message.what) or _failed(message.what, errno.ENOENT)
                return Message(kind, body, flags)

    def events(self) -> list[Message]:
        """What the groups told since the last call, without waiting.

        :raises SystemCallError: ENOBUFS, when more was told than could be kept: look at the whole again.
        """
        found: list[Message] = []
        while True:
            try:
                data = self._socket.recv(_CHUNK, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return found
            except OSError as exc:
                raise _failed("read netlink events", exc.errno or 0) from exc
            found += [Message(kind, body, flags, port=port) for kind, _, flags, body, port in _split(data)]

    # --- plumbing

    def _encode(self, message: Message, flags: int) -> bytes:
        self._sequence += 1
        length = _HEADER.size + len(message.body)
        return (
            _HEADER.pack(length, message.kind, flags | message.flags, self._sequence, 0)
            + message.body
            + b"\0" * (-length & 3)
        )

    def _with_one_answer(self, messages: Sequence[Message]) -> bytes:
        """Encode messages of which only the last is answered in any case; what the kernel refuses, it always says."""
        last = len(messages) - 1
        return b"".join(
            self._encode(message, NLM_F.REQUEST | NLM_F.ACK if place == last else NLM_F.REQUEST)
            for place, message in enumerate(messages)
        )

    def _send(self, messages: Sequence[Message], flags: int) -> int:
        first = self._sequence + 1
        self._send_raw(b"".join(self._encode(message, flags) for message in messages))
        return first

    def _send_raw(self, data: bytes) -> None:
        try:
            if len(data) > _RECEIVE_BUFFER // 8:
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, 2 * len(data))
            self._socket.send(data)
        except OSError as exc:
            raise _failed(f"send {len(data)} bytes of netlink messages", exc.errno or 0) from exc

    def _receive(self) -> list[tuple[int, int, int, bytes, int]]:
        try:
            return _split(self._socket.recv(_CHUNK))
        except OSError as exc:
            raise _failed("read a netlink answer", exc.errno or 0) from exc

    def _drain(self) -> None:
        """Throw away what is still in the queue: the answers to the rest of a batch that failed."""
        try:
            while self._socket.recv(_CHUNK, socket.MSG_DONTWAIT):
                pass
        except BlockingIOError:
            return


_SO_SNDBUFFORCE: Final = 32
_SO_ATTACH_FILTER: Final = 26
_BPF: Final = struct.Struct("@HBBI")  # struct sock_filter of linux/filter.h


def _without(port: int) -> list[tuple[int, int, int, int]]:
    """A classic BPF program that lets no message pass of which ``nlmsg_pid`` is a port; it loads in network order."""
    number = int.from_bytes(struct.pack("=I", port), "big")
    return [
        (0x20, 0, 0, 12),  # ld [12]
        (0x15, 0, 1, number),  # jeq #port, 0, 1
        (0x06, 0, 0, 0),  # ret #0
        (0x06, 0, 0, 0xFFFFFFFF),  # ret #-1
    ]


def _split(data: bytes) -> list[tuple[int, int, int, bytes, int]]:
    """Type, sequence, flags, body and port of each message in a datagram."""
    found, offset = [], 0
    while offset + _HEADER.size <= len(data):
        length, kind, flags, sequence, port = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size:
            break
        found.append((kind, sequence, flags, data[offset + _HEADER.size : offset + length], port))
        offset += (length + 3) & ~3
    return found


def _refusal(body: bytes, flags: int, what: str) -> SystemCallError | None:
    """The error in an NLMSG_ERROR reply; None for an acknowledgement."""
    (code,) = _ERROR.unpack_from(body)
    if code == 0:
        return None
    said = b""
    if flags & 0x200:  # NLM_F_ACK_TLVS; with NLM_F_CAPPED only the header of the request is repeated
        said = attributes(body, 4 + _HEADER.size).get(_ACK_MESSAGE, b"")
    return _failed(what, -code, said.rstrip(b"\0").decode(errors="replace"))


def _failed(what: str, code: int, said: str = "") -> SystemCallError:
    return SystemCallError("netlink", what, code, hint=said or None)
