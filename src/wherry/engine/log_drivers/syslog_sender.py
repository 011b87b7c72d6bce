"""Speaks syslog: RFC 3164 and RFC 5424 over datagrams and streams, RFC 5425 over TLS."""

from __future__ import annotations

import os
import re
import ssl
import time
from collections.abc import Sequence
from functools import partial
from typing import Final

from wherry.engine.log_drivers.addresses import Address
from wherry.engine.log_drivers.connections import DatagramSocket, StreamConnection, tls_context
from wherry.engine.log_drivers.contract import Entries, Options, Subject
from wherry.engine.log_drivers.syslog import parse_address, parse_facility
from wherry.engine.log_drivers.tag import tag_of
from wherry.engine.log_drivers.waiting import copied, in_a_thread
from wherry.errors import SystemFault
from wherry.keeper.records import STDERR

__all__ = ["SyslogSender"]

_INFO: Final = 6
_ERROR: Final = 3
_LOCAL: Final = [Address(scheme, path=path) for scheme in ("unixgram", "unix")
                 for path in ("/dev/log", "/var/run/syslog", "/var/run/log")]  # fmt: skip
_MONTHS: Final = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_NOT_IN_A_FIELD: Final = re.compile(r"[\x00-\x20\x7f]")


class SyslogSender:
    """A `wherry.engine.log_drivers.contract.Sender`."""

    retry_wait: float | None = None
    max_retries: int | None = None
    must_answer = True

    def __init__(self, subject: Subject) -> None:
        options = subject.options
        self._options = options
        self._address = parse_address(options.get("syslog-address", ""))
        self._facility = parse_facility(options.get("syslog-facility", ""))
        self._format = options.get("syslog-format", "")
        tag = tag_of(subject)
        self._tag = (_NOT_IN_A_FIELD if self._format.startswith("rfc5424") else _CONTROL).sub("_", tag)
        self._host = os.uname().nodename
        self.overhead = 2 * len(self._tag)
        self._counts = self._format.startswith("rfc5424") and self._scheme == "tcp+tls"
        self._connection: StreamConnection | DatagramSocket | None = None

    @property
    def _scheme(self) -> str:
        return self._address.scheme if self._address else "unixgram"

    def encode(self, batch: Sequence[Entries]) -> list[bytes]:
        """Messages; one a piece for datagrams, many for a stream."""
        found: list[bytes] = []
        for entries in batch:
            header = self._header(entries)
            data = entries.data.replace(b"\0", b"#000")  # as rsyslog writes it; many receivers would end there
            if self._counts:
                found.append(b"".join(_counted(header + line + b"\n") for line in _lines(data, entries)))
            elif self._scheme in ("udp", "unixgram"):
                found += [header + line + b"\n" for line in _lines(data, entries)]
            else:
                body = data[:-1].replace(b"\n", b"\n" + header) if entries.part is None else data
                found.append(header + body + b"\n")
        return found

    def _header(self, entries: Entries) -> bytes:
        priority = self._facility << 3 | (_ERROR if entries.stream == STDERR else _INFO)
        process = os.getpid()
        if self._format.startswith("rfc5424"):
            at = _rfc3339(entries.time, micro=self._format == "rfc5424micro")
            return f"<{priority}>1 {at} {self._host} {self._tag} {process} {self._tag} - ".encode()
        host = f"{self._host} " if self._format == "rfc3164" else ""
        return f"<{priority}>{_stamp(entries.time)} {host}{self._tag}[{process}]: ".encode()

    async def open(self) -> None:
        """Connect, with TLS if it is asked for."""
        if self._connection is not None:
            return
        if self._address is None:
            self._connection = await _open_local()
        elif self._scheme in ("udp", "unixgram"):
            self._connection = await DatagramSocket.open(self._address)
        else:
            tls = await self._tls() if self._scheme == "tcp+tls" else None
            self._connection = await StreamConnection.open(self._address, tls)

    async def _tls(self) -> ssl.SSLContext:
        files = " ".join(self._options.get(f"syslog-tls-{name}", "") for name in ("ca-cert", "cert", "key"))
        return await in_a_thread(f"read {files}", partial(_context, self._options))

    async def send(self, pieces: Sequence[bytes]) -> None:
        """Send messages."""
        if isinstance(self._connection, DatagramSocket):
            await self._connection.send(pieces)
        elif self._connection is not None:
            await self._connection.write(pieces)

    def is_drained(self) -> bool:
        """Whether the daemon's kernel has them."""
        return not isinstance(self._connection, StreamConnection) or self._connection.is_drained()

    async def close(self) -> None:
        """Disconnect."""
        connection, self._connection = self._connection, None
        if isinstance(connection, DatagramSocket):
            connection.close()
        elif connection is not None:
            await connection.close()


async def _open_local() -> DatagramSocket | StreamConnection:
    for address in _LOCAL:
        try:
            if address.scheme == "unixgram":
                return await DatagramSocket.open(address)
            return await StreamConnection.open(address)
        except SystemFault:
            continue
    raise SystemFault("Unix syslog delivery error")


def _context(options: Options) -> ssl.SSLContext:
    """TLS as the options want it.

    :raises SystemFault: a file cannot be read, or is not what it should be; in Docker's words.
    """
    authority = options.get("syslog-tls-ca-cert", "")
    try:
        context = tls_context(authority)
    except (OSError, ValueError) as error:
        raise SystemFault(f'could not read CA certificate "{authority}"', cause=_in_go(error)) from error
    if "syslog-tls-skip-verify" in options:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    certificate, key = options.get("syslog-tls-cert", ""), options.get("syslog-tls-key", "")
    if certificate or key:
        try:
            with copied(certificate) as chain, copied(key) as private:
                context.load_cert_chain(chain, private, password=lambda: "")
        except (OSError, ValueError) as error:
            raise SystemFault("could not load X509 key pair", cause=_in_go(error)) from error
    return context


def _in_go(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"open {error.filename}: {str(error.strerror).lower()}"
    return str(error)


def _lines(data: bytes, entries: Entries) -> list[bytes]:
    return entries._replace(data=data).lines()


def _counted(message: bytes) -> bytes:
    return b"%d %b" % (len(message), message)


def _stamp(ns: int) -> str:
    now = time.localtime(ns // 1_000_000_000)
    return f"{_MONTHS[now.tm_mon - 1]} {now.tm_mday:2d} {now.tm_hour:02d}:{now.tm_min:02d}:{now.tm_sec:02d}"


def _rfc3339(ns: int, *, micro: bool) -> str:
    seconds, rest = divmod(ns, 1_000_000_000)
    now = time.localtime(seconds)
    minutes = now.tm_gmtoff // 60
    sign, minutes = ("-", -minutes) if minutes < 0 else ("+", minutes)
    zone = f"{sign}{minutes // 60:02d}:{minutes % 60:02d}" if minutes else "Z"
    return time.strftime("%Y-%m-%dT%H:%M:%S", now) + (f".{rest // 1000:06d}" if micro else "") + zone
