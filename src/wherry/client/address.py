"""The address of a daemon: ``unix:///path``, ``tcp://host:port`` or a path."""

from __future__ import annotations

__all__ = ["DEFAULT_HOST", "DEFAULT_SOCKET", "Address", "TLSFiles", "parse_host"]

DEFAULT_SOCKET = "/run/wherry/wherry.sock"
DEFAULT_HOST = "unix://" + DEFAULT_SOCKET


class TLSFiles:
    """The PEM files of mutual TLS.

    :param ca: certificates of the authorities that may sign the daemon's certificate.
    :param cert: the client's own certificate.
    :param key: its private key.
    :param verify: False accepts any daemon (the traffic is encrypted, the peer unknown).
    """

    __slots__ = ("ca", "cert", "key", "verify")

    def __init__(self, ca: str | None, cert: str | None, key: str | None, *, verify: bool = True) -> None:
        self.ca = ca
        self.cert = cert
        self.key = key
        self.verify = verify


class Address:
    """A parsed address.

    :param text: as given by the user.
    :param path: of a unix socket, or None.
    :param host, port: of a TCP listener, where ``path`` is None.
    :param tls: for a TCP listener.
    """

    __slots__ = ("host", "path", "port", "text", "tls")

    def __init__(self, text: str, *, path: str | None = None, host: str = "", port: int = 0) -> None:
        self.text = text
        self.path = path
        self.host = host
        self.port = port
        self.tls: TLSFiles | None = None

    def __repr__(self) -> str:
        return f"Address({self.text!r})"


def parse_host(text: str) -> Address:
    """Parse an address.

    :param text: ``unix:///run/x.sock``, ``/run/x.sock``, ``tcp://127.0.0.1:2376``, ``tcp://[::1]:2376``.
    :raises wherry.errors.InvalidInput: invalid address.
    """
    if text.startswith("/"):
        return Address("unix://" + text, path=text)
    if text.startswith("unix://") and len(text) > 7:
        return Address(text, path=text[7:])
    if text.startswith("tcp://"):
        host, colon, port = text[6:].rstrip("/").rpartition(":")
        if colon and host and port.isascii() and port.isdigit() and 0 < int(port) < 65536:
            return Address(text, host=host.strip("[]"), port=int(port))
    from wherry.errors import InvalidInput

    raise InvalidInput(f'invalid daemon address "{text}"', hint="expected unix:///path/to.sock or tcp://host:port")
