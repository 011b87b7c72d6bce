"""The context of a command: the global flags, and the client of the daemon."""

from __future__ import annotations

import posix  # ``os`` takes a millisecond to import, on every command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.flags.parser import Options
    from wherry.client.address import Address
    from wherry.client.client import Client

__all__ = ["Context", "context_name", "find_daemon"]


def find_daemon(options: Options | None) -> Address:
    """The daemon's address.

    In this order: ``--host``, ``--context``, ``WHERRY_HOST``, ``DOCKER_HOST``, ``DOCKER_CONTEXT``, the context in use
    according to Docker's ``config.json``, the default socket.

    :raises wherry.errors.InvalidInput: invalid address.
    :raises wherry.errors.NotFound: no such context.
    """
    from wherry.client.address import DEFAULT_HOST, parse_host

    hosts = options["host"] if options else ()
    named = str(options["context"]) if options else ""
    if len(hosts) > 1:
        raise _misuse("specify only one -H")
    if hosts and named:
        raise _misuse("conflicting options: cannot specify both --host and --context")
    host = hosts[0] if hosts else ""
    if not host and not named:
        host = _variable(b"WHERRY_HOST") or _variable(b"DOCKER_HOST")
        named = "" if host else _context_in_use()
    if named and named != "default":
        from wherry.cli.daemon.contexts import address_of

        return address_of(named)
    if named and not host:
        host = _variable(b"WHERRY_HOST") or _variable(b"DOCKER_HOST")
    address = parse_host(host or DEFAULT_HOST)
    if address.path is None and not address.ssh:
        from wherry.cli.daemon.tls import tls_files

        address.tls = tls_files(options)
    return address


def context_name(options: Options | None) -> str:
    """The context that :func:`find_daemon` follows; empty when it is an address that it was given."""
    if options and (options["host"] or options["context"]):
        named = str(options["context"])
    elif _variable(b"WHERRY_HOST") or _variable(b"DOCKER_HOST"):
        return ""
    else:
        named = _context_in_use()
    return "" if named == "default" else named


def _variable(name: bytes) -> str:
    return posix.environ.get(name, b"").decode(errors="surrogateescape")


def _context_in_use() -> str:
    """The context that ``DOCKER_CONTEXT`` or Docker's configuration names; empty for none.

    Most machines have no such file, or one without contexts: then nothing is imported to find out.
    """
    named = _variable(b"DOCKER_CONTEXT")
    if named:
        return named
    folder = _variable(b"DOCKER_CONFIG") or f"{_variable(b'HOME')}/.docker"
    try:
        with open(f"{folder}/config.json", "rb") as file:
            if b"currentContext" not in file.read():
                return ""
    except OSError:
        return ""
    from wherry.cli.daemon.contexts import current_context

    return current_context()


def _misuse(message: str) -> Exception:
    from wherry.errors import InvalidInput

    return InvalidInput(message)


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
