"""The context of a command: the global flags, and the client of the daemon."""

from __future__ import annotations

import posix  # ``os`` takes a millisecond to import, on every command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.flags.parser import Options
    from wherry.client.address import Address
    from wherry.client.client import Client

__all__ = ["Context", "find_daemon"]


def find_daemon(options: Options | None) -> Address:
    """The daemon's address: from ``--host``, ``WHERRY_HOST``, else the default socket.

    ``DOCKER_HOST`` is Docker's and is not followed.

    :raises wherry.errors.InvalidInput: invalid address.
    """
    from wherry.client.address import DEFAULT_HOST, parse_host

    hosts = options["host"] if options else ()
    if len(hosts) > 1:
        from wherry.errors import InvalidInput

        raise InvalidInput("specify only one -H")
    variable = posix.environ.get(b"WHERRY_HOST", b"").decode(errors="surrogateescape")
    address = parse_host((hosts[0] if hosts else "") or variable or DEFAULT_HOST)
    if address.path is None:
        from wherry.cli.daemon.tls import tls_files

        address.tls = tls_files(options)
    return address


class Context:
    """The context that every verb is given.

    :param options: the global flags.
    :param start: start a daemon when none answers, if this process may.
    """

    def __init__(self, options: Options | None, *, start: bool = True) -> None:
        self._start = start
        self.global_options = options
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """The client; the first use finds the daemon, or starts one if this process may.

        :raises wherry.errors.Unavailable: no daemon answers.
        """
        if self._client is None:
            self._client = self.new_client()
        return self._client

    def new_client(self) -> Client:
        """Another client, for a signal handler that must not use the first client's connection."""
        from wherry.client.client import Client

        client = Client(find_daemon(self.global_options))
        if self._client is None and self._start:
            self._connect_or_start(client)
        return client

    @staticmethod
    def _connect_or_start(client: Client) -> None:
        from wherry.client.transport import Connection

        transport = client.transport
        try:
            sock = transport.connect()
        except OSError as error:
            from wherry.cli.daemon.start import ensure_daemon

            ensure_daemon(transport, error)
        else:
            transport.idle = Connection(sock, transport)
