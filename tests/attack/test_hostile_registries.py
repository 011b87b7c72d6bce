"""A registry that lies, dawdles or never ends: a pull fails with a sentence, keeps nothing, and holds up nobody.

The client alone is tried further in `tests/unit/distribution/test_pull.py`; here it is what a daemon makes of it.
"""

from __future__ import annotations

import base64
import gzip
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from support.archives import config, digest, link, member, tar
from support.daemons import Daemon
from support.needs import need

pytestmark = [need("root", "busybox", "overlay", "namespaces"), pytest.mark.usefixtures("unharmed")]

MEGABYTE = 1 << 20
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
LAYER = tar([member("x", b"x" * 100_000)])
PACKED = gzip.compress(LAYER)
CONFIG = config([LAYER])


def descriptor(data: bytes, kind: str, **changes: Any) -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest(data), "size": len(data), **changes}


def manifest(**changes: Any) -> bytes:
    """A good one, but for the changes."""
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(CONFIG, "application/vnd.oci.image.config.v1+json"),
        "layers": [descriptor(PACKED, "application/vnd.oci.image.layer.v1.tar+gzip")],
    }
    return json.dumps(document | changes).encode()


class Liar(BaseHTTPRequestHandler):
    """Answers as the server's `lie` says; where it says nothing, as a good registry would."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        liar: Any = self.server
        liar.asked.append((self.path, self.headers.get("Authorization", "")))
        with suppress(OSError):  # who was lied to may have left
            if liar.lie(self):
                return
            kind, data = found(self.path)
            self.answer(200 if data else 404, data, {"Content-Type": kind})

    do_HEAD = do_GET

    def answer(self, status: int, data: bytes = b"", headers: dict[str, str] | None = None) -> None:
        """Send a whole answer."""
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def endless(self, piece: bytes, headers: dict[str, str]) -> bool:
        """Send the same again and again, until nobody wants it any more."""
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = True
        while self.command != "HEAD":
            self.wfile.write(piece)
        return True

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def found(path: str) -> tuple[str, bytes]:
    """What a good registry has there."""
    name = path.rpartition("/")[2]
    blobs = {digest(CONFIG): CONFIG, digest(PACKED): PACKED}
    if path == "/v2/":
        return "application/json", b"{}"
    return (MANIFEST, manifest()) if "/manifests/" in path else ("application/octet-stream", blobs.get(name, b""))


@pytest.fixture
def liar() -> Iterator[Any]:
    """A registry at a port of this machine; what it does is up to the test."""
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Liar)
    server.asked, server.lie = [], lambda _: False
    server.host = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def pulled(daemon: Daemon, liar: Any, headers: dict[str, str] | None = None) -> str:
    """The error of a pull; nothing when it worked."""
    answer = daemon.request("POST", "/images/create", b"", headers=headers, fromImage=f"{liar.host}/evil", tag="1")
    if answer.status != 200:
        assert answer.status < 500 or "internal error" not in answer.message, answer.message
        return answer.message
    return "".join(json.loads(line).get("error", "") for line in answer.body.splitlines())


def instead(part: str, data: bytes, kind: str = MANIFEST) -> Callable[[Liar], bool]:
    """Other bytes at the paths with this in them."""

    def lie(request: Liar) -> bool:
        if part in request.path:
            request.answer(200, data, {"Content-Type": kind})
        return part in request.path

    return lie


def redirected(part: str, place: str) -> Callable[[Liar], bool]:
    """Somewhere else."""

    def lie(request: Liar) -> bool:
        if part in request.path:
            request.answer(307, b"", {"Location": place.format(request.path)})
        return part in request.path

    return lie


def endless(part: str, piece: bytes, **headers: str) -> Callable[[Liar], bool]:
    return lambda request: (
        part in request.path
        and request.endless(piece, {name.replace("_", "-"): value for name, value in headers.items()})
    )


def nested(_: Any = None) -> bytes:
    """An index that names one that names one."""
    data = manifest()
    for _number in range(40):
        data = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(data, INDEX)]}).encode()
    return data


BLOB, DOCUMENT = "/blobs/" + digest(PACKED), "/manifests/"
SMALL = descriptor(PACKED, "application/vnd.oci.image.layer.v1.tar+gzip")
REASON = json.dumps({"errors": [{"code": "EVIL", "message": "because " * 100_000}]}).encode()
LIES: dict[str, Callable[[Liar], bool]] = {
    "a manifest without end": endless(DOCUMENT, b" " * 65536, Content_Type=MANIFEST),
    "a configuration without end": endless("/blobs/" + digest(CONFIG), b" " * 65536),
    "a layer without end": endless(BLOB, b"\0" * 65536),
    "an answer to the first question without end": endless("/v2/", b" " * 65536),
    "headers without end": lambda r: bool(r.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200_000)),
    "noise": lambda r: bool(r.wfile.write(bytes(range(256)) * 64)) and setattr(r, "close_connection", True) is None,
    "other bytes": instead(BLOB, gzip.compress(b"y" * 100_000)),
    "a shorter layer": instead(BLOB, PACKED[:-20]),
    "a longer layer": instead(BLOB, PACKED + b"more"),
    "a layer that is none": instead(DOCUMENT, manifest(layers=[descriptor(CONFIG, SMALL["mediaType"])])),
    "a size below zero": instead(DOCUMENT, manifest(layers=[{**SMALL, "size": -5}])),
    "a size of a galaxy": instead(DOCUMENT, manifest(layers=[{**SMALL, "size": 10**30}])),
    "a size that is a text": instead(DOCUMENT, manifest(layers=[{**SMALL, "size": "5"}])),
    "a digest that climbs": instead(DOCUMENT, manifest(layers=[{**SMALL, "digest": "sha256:../../../../etc/passwd"}])),
    "a digest of nothing": instead(DOCUMENT, manifest(layers=[{**SMALL, "digest": "md5:0"}])),
    "layers of nothing": instead(DOCUMENT, manifest(layers=[None])),
    "ten thousand layers": instead(DOCUMENT, manifest(layers=[SMALL] * 10_000)),
    "a manifest that is a list": instead(DOCUMENT, b"[]"),
    "a deep manifest": instead(DOCUMENT, b"[" * 100_000),
    "a number of a million digits": instead(DOCUMENT, b'{"schemaVersion":' + b"9" * MEGABYTE + b"}"),
    "an index without end": instead(DOCUMENT, nested(), INDEX),
    "a redirection to itself": redirected(BLOB, "{}"),
    "a redirection to a file": redirected(BLOB, "file:///etc/passwd"),
    "a redirection to nowhere": redirected(BLOB, "http://"),
    "a redirection to noise": redirected(BLOB, "http://[::1]:99999/\x01"),
    "a token from noise": lambda r: (
        r.answer(401, b"", {"WWW-Authenticate": 'Bearer realm="file:///etc/passwd"'}) is None
    ),
    "a challenge without end": lambda r: r.answer(401, b"", {"WWW-Authenticate": "Bearer " + 'a="b",' * 1000}) is None,
    "a reason of megabytes": lambda r: r.answer(400, REASON) is None,
    "a code of megabytes": lambda r: (
        r.answer(400, REASON.replace(b"code", b"more").replace(b"message", b"code")) is None
    ),
    "an error of megabytes": lambda r: r.answer(500, b"<b>" * MEGABYTE, {"Content-Type": "text/html"}) is None,
}


@pytest.mark.parametrize("what", LIES)
def test_a_lie_is_an_error_with_a_sentence_and_leaves_nothing(daemon: Daemon, liar: Any, what: str) -> None:
    before = daemon.request("GET", "/images/json", all=True).json
    earlier = set(daemon.unfinished())  # what others have removed goes at its leisure
    liar.lie = LIES[what]
    error = pulled(daemon, liar)
    assert error
    assert len(error) < 5000
    assert "root:" not in error
    assert daemon.request("GET", "/images/json", all=True).json == before
    assert set(daemon.unfinished()) <= earlier


def test_without_a_lie_it_is_a_registry(daemon: Daemon, liar: Any) -> None:
    assert pulled(daemon, liar) == ""
    assert daemon.request("DELETE", f"/images/{liar.host}/evil:1").status == 200


def test_a_password_goes_to_nobody_whom_a_registry_names(daemon: Daemon, liar: Any) -> None:
    secret = base64.b64encode(json.dumps({"username": "me", "password": "secret"}).encode()).decode()
    thief: Any = ThreadingHTTPServer(("127.0.0.1", 0), Liar)
    thief.asked, thief.lie = [], lambda _: False
    thread = threading.Thread(target=thief.serve_forever, args=(0.02,))
    thread.start()
    place = f"http://127.0.0.1:{thief.server_address[1]}"
    try:
        liar.lie = redirected(BLOB, place + "{}")
        pulled(daemon, liar, {"X-Registry-Auth": secret})
    finally:
        thief.shutdown()
        thread.join()
        thief.server_close()
        daemon.request("DELETE", f"/images/{liar.host}/evil:1")
    assert thief.asked, "the redirection was followed"
    assert {authorization for _, authorization in thief.asked} == {""}


def test_a_registry_that_never_answers_holds_up_no_other_and_can_be_left(daemon: Daemon, liar: Any) -> None:
    asked, answered = threading.Event(), threading.Event()
    liar.lie = lambda _: asked.set() or (answered.wait(60) and False)
    threads = [threading.Thread(target=lambda: suppress_all(lambda: pulled(daemon, liar))) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        assert asked.wait(60)
        for _ in range(20):
            assert daemon.request("GET", "/images/json").status == 200
    finally:
        answered.set()
        for thread in threads:
            thread.join()
    daemon.request("DELETE", f"/images/{liar.host}/evil:1")


def suppress_all(function: Callable[[], object]) -> None:
    """What a thread says of errors is of no interest here."""
    with suppress(OSError, AssertionError):
        function()


VOLUME = "application/vnd.wherry.volume"


def volume(data: bytes, says: str = "", **changes: Any) -> Callable[[Liar], bool]:
    """A volume with this archive, as `wherry volume push` would have it, but for the changes to its descriptor."""
    layer = descriptor(data, f"{VOLUME}.content.v1.tar+gzip", **changes)
    if says:
        layer["annotations"] = {"org.wherry.volume.size": says}
    document = manifest(
        artifactType=f"{VOLUME}.v1", config=descriptor(b"{}", "application/vnd.oci.empty.v1+json"), layers=[layer]
    )

    def lie(request: Liar) -> bool:
        if "/manifests/" in request.path:
            request.answer(200, document, {"Content-Type": MANIFEST})
        elif "/blobs/" in request.path:
            request.answer(200, data)
        return request.path != "/v2/"

    return lie


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        (volume(PACKED, digest=digest(b"other")), "the registry gives something else than the blob"),
        (volume(PACKED, size=len(PACKED) + 1), "bytes, not"),
        (volume(PACKED, size=1 << 60), "bytes are wanted, and the disk has"),
        (volume(PACKED, says="999999999999999"), "bytes are wanted, and the disk has"),
        (volume(PACKED, says="5000"), "the archive unpacks to more than the 5000 bytes allowed"),
        (volume(PACKED[:60]), "ends too early"),
        (volume(gzip.compress(tar([link(".", "/etc")]))), "something else in the place of its root"),
        (instead("/manifests/", manifest()), "is an image, not a volume"),
        (instead("/manifests/", b"{}"), "invalid image manifest"),
    ],
)
def test_a_volume_that_lies_is_none(daemon: Daemon, liar: Any, lie: Callable[[Liar], bool], words: str) -> None:
    liar.lie = lie
    answer = daemon.request("POST", "/wherry/volumes/pull", b"", reference=f"{liar.host}/evil:1", name="evil")
    told = answer.message if answer.status != 200 else json.loads(answer.body.splitlines()[-1]).get("error", "")
    assert words in told
    assert "evil" not in [one["Name"] for one in daemon.request("GET", "/volumes").json["Volumes"]]
