"""Mutual TLS, with the half-close that Python's own TLS sockets lack."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from wherry.client import Client
from wherry.client.address import Address, TLSFiles, parse_host

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    return folder


def read_to_end(connection: ssl.SSLSocket) -> bytes:
    data = b""
    while piece := connection.recv(65536):
        data += piece
    return data


@pytest.fixture
def address(certificate: Path) -> Iterator[Address]:
    """A server that answers 101, reads up to the client's close_notify, and only then replies."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    context.load_verify_locations(certificate / "cert.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        plain, _ = listener.accept()
        try:
            with context.wrap_socket(plain, server_side=True, suppress_ragged_eofs=True) as connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 101 UPGRADED\r\nUpgrade: tcp\r\n\r\n")
                connection.sendall(b"got %d" % len(read_to_end(connection)))
        except (ssl.SSLError, OSError):
            plain.close()

    thread = threading.Thread(target=serve)
    thread.start()
    yield parse_host(f"tcp://127.0.0.1:{listener.getsockname()[1]}")
    thread.join(10)
    listener.close()


def test_input_ends_and_output_goes_on(certificate: Path, address: Address) -> None:
    pem, key = str(certificate / "cert.pem"), str(certificate / "key.pem")
    address.tls = TLSFiles(pem, pem, key)
    stream = Client(address).hijack("/attach")
    stream.sock.sendall(b"x" * 500_000)
    stream.close_write()
    received = b""
    while piece := stream.recv():
        received += piece
    assert received == b"got 500000"
    stream.close()


def test_a_daemon_that_nobody_vouches_for_is_refused(address: Address) -> None:
    address.tls = TLSFiles(None, None, None)
    with pytest.raises(ssl.SSLCertVerificationError):
        Client(address).system.ping()
