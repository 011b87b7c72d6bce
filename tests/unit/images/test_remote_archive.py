"""Archives from an address: what servers give, break off, refuse, and lead to. Any user can run these."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from wherry.errors import CorruptData, InvalidInput, NotFound, SystemFault, WherryError
from wherry.images.remote_archive import opened

DATA = b"an archive" * 10_000


class Server(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        if name in ("file", "ftp"):
            self.send_response(302)
            self.send_header("Location", f"{name}://127.0.0.1/etc/hostname")
        elif name == "elsewhere":
            self.send_response(302)
            self.send_header("Location", "/whole")
        elif name == "broken":
            self.send_response(500)
        else:
            self.send_response(404 if name == "nothing" else 200)
            self.send_header("Content-Length", str(len(DATA)))
        self.end_headers()
        if name in ("whole", "short"):
            self.wfile.write(DATA if name == "whole" else DATA[:-1])

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def place() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def fetch(url: str) -> bytes:
    with opened(url) as stream:
        return b"".join(iter(lambda: stream.read(1000), b""))


@pytest.mark.parametrize("name", ["whole", "elsewhere"])
def test_an_archive_comes_whole(place: str, name: str) -> None:
    assert fetch(f"{place}/{name}") == DATA


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("short", CorruptData, "1 bytes are missing at the end"),
        ("nothing", NotFound, "failed to GET http.*/nothing with status 404 Not Found"),
        ("broken", SystemFault, "with status 500 Internal Server Error"),
        ("file", SystemFault, "not allowed"),
        ("ftp", SystemFault, "ftp"),
    ],
)
def test_what_is_no_archive_is_an_error(place: str, name: str, kind: type[WherryError], words: str) -> None:
    with pytest.raises(kind, match=words):
        fetch(f"{place}/{name}")


def test_an_address_without_a_scheme_is_one_of_http() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        for host in ("127.0.0.1", "localhost"):
            where = f"{host}:{bound.getsockname()[1]}/x.tar"
            with pytest.raises(SystemFault, match=f'Get "http://{where}"'):
                fetch(where)


def test_nobody_listening_is_said() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and does not listen
        with pytest.raises(SystemFault, match=r'Get "http://127.*": .*refused'):
            fetch(f"http://127.0.0.1:{bound.getsockname()[1]}/x")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://", "data:,x", "ftp://127.0.0.1/x", "http://[::1"])
def test_only_http_is_an_address(url: str) -> None:
    with pytest.raises(InvalidInput, match="is no address"):
        fetch(url)
