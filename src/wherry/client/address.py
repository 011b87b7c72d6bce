"""The address of a daemon: ``unix:///path``, ``tcp://host:port``, ``ssh://user@host:port/path`` or a path."""

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
    :param host, port: of a TCP listener, or of an ssh server, where ``path`` is None; port 0 leaves it to ssh.
    :ivar tls: for a TCP listener.
    :ivar ssh: whether the ssh program makes the connection.
    :ivar user, remote_path: the user and the daemon's socket there; empty for the default.
    """

    __slots__ = ("host", "path", "port", "remote_path", "ssh", "text", "tls", "user")

    def __init__(self, text: str, *, path: str | None = None, host: str = "", port: int = 0) -> None:
        self.text = text
        self.path = path
        self.host = host
        self.port = port
        self.tls: TLSFiles | None = None
        self.ssh = False
        self.user = ""
        self.remote_path = ""

    def __repr__(self) -> str:
        return f"Address({self.text!r})"


def parse_host(text: str) -> Address:
    """Parse an address.

    :param text: ``unix:///run/x.sock``, ``/run/x.sock``, ``tcp://127.0.0.1:2376``, ``tcp://[::1]:2376``,
        ``ssh://user@box:22/run/x.sock``.
    :raises wherry.errors.InvalidInput: invalid address.
    """
    if text.startswith("/"):
        return Address("unix://" + text, path=text)
    if text.startswith("unix://") and len(text) > 7:
        return Address(text, path=text[7:])
    if text.startswith("tcp://"):
        host, colon, port = text[6:].rstrip("/").rpartition(":")
        if colon and host and _is_port(port):
            return Address(text, host=host.strip("[]"), port=int(port))
    if text.startswith("ssh://"):
        return _parse_ssh(text)
    raise _invalid(text, "expected unix:///path/to.sock, tcp://host:port or ssh://user@host")


def _parse_ssh(text: str) -> Address:
    place, _, path = text[6:].partition("/")
    user, _, where = place.rpartition("@")
    host, colon, port = where.partition("]")[2].partition(":") if where.startswith("[") else where.partition(":")
    if where.startswith("["):
        host = where[1:].partition("]")[0]
    if ":" in user or "?" in text or "#" in text:
        raise _invalid(text, "an address of ssh has a user, a host, a port and a path, and no password")
    if not host or not all(map(_is_harmless, (host, user))) or (colon and not _is_port(port)):
        raise _invalid(text, "expected ssh://user@host:port/path/to.sock")
    address = Address(text, host=host, port=int(port) if colon else 0)
    address.ssh, address.user, address.remote_path = True, user, f"/{path}" if path else ""
    return address


def _is_harmless(text: str) -> bool:
    """Whether a host or user is neither an option, nor a command for the shell of ssh's ``ProxyCommand``.

    What was OpenSSH's own matter until 9.6 (CVE-2023-51385): an address may come with somebody else's context.
    """
    return not text.startswith("-") and text.isprintable() and not set(text) & set(" '`\"$\\;&<>|(){}")


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text) < 65536


def _invalid(text: str, hint: str) -> Exception:
    from wherry.errors import InvalidInput

    return InvalidInput(f'invalid daemon address "{text}"', hint=hint)
