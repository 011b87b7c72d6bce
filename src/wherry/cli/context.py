"""What every verb holds: the way to the daemon."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.flags import Options
    from wherry.client.address import Address
    from wherry.client.client import Client

__all__ = ["Context", "find_daemon"]


def find_daemon(options: Options | None) -> Address:
    """Find out where the daemon listens: ``--host``, ``WHERRY_HOST``, else the default socket.

    ``DOCKER_HOST`` is Docker's and is not followed.

    :raises wherry.errors.InvalidInput: what was said is no address.
    """
    from wherry.client.address import DEFAULT_HOST, parse_host

    hosts = options["host"] if options else ()
    if len(hosts) > 1:
        from wherry.errors import InvalidInput

        raise InvalidInput("specify only one -H")
    address = parse_host((hosts[0] if hosts else "") or os.environ.get("WHERRY_HOST") or DEFAULT_HOST)
    if address.path is None:
        from wherry.cli.tls import tls_files

        address.tls = tls_files(options)
    return address


class Context:
    """Passed to every verb.

    :param options: the global flags.
    :param start: start a daemon where none answers, if it is ours to start.
    """

    def __init__(self, options: Options | None, *, start: bool = True) -> None:
        self._start = start
        self.global_options = options
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """The client; the first use finds the daemon, and starts one where that is ours to do.

        :raises wherry.errors.Unavailable: there is none.
        """
        if self._client is None:
            self._client = self.another_client()
        return self._client

    def another_client(self) -> Client:
        """One more client, for a signal handler that must not disturb the first one's connections."""
        from wherry.client.client import Client

        client = Client(find_daemon(self.global_options))
        if self._client is None and self._start:
            self._reach(client)
        return client

    @staticmethod
    def _reach(client: Client) -> None:
        from wherry.client.transport import Connection

        transport = client.transport
        try:
            sock = transport.connect()
        except OSError as error:
            from wherry.cli.spawn import reach

            reach(transport, error)
        else:
            transport.idle = Connection(sock, transport)
