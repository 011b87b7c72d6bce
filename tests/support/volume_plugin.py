"""A small volume plugin: a real server of Docker's protocol, on a unix socket, that may be told to misbehave."""

from __future__ import annotations

import json
import shutil
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

__all__ = ["VolumePlugin", "plugin"]


class VolumePlugin(socketserver.ThreadingUnixStreamServer):
    """Its volumes are directories below one directory.

    :ivar calls: what it was asked: methods, and who it was for.
    :ivar odd: by method: ``hang``, ``die`` (closes the connection), or an answer in place of the right one.
    """

    daemon_threads = True

    def __init__(self, socket: Path, directory: Path) -> None:
        super().__init__(str(socket), _Handler)
        self.directory = directory
        self.calls: list[tuple[str, str]] = []
        self.odd: dict[str, Any] = {}
        self.mounted: dict[str, set[str]] = {}
        self.over = threading.Event()

    def answer(self, method: str, question: dict[str, Any]) -> dict[str, Any]:
        """The answer to a question."""
        name = question.get("Name", "")
        self.calls.append((method, question.get("ID", name)))
        place = self.directory / name
        users = self.mounted.setdefault(name, set())
        if method.removeprefix("VolumeDriver.") in ("Plugin.Activate", "Capabilities", "Create", "List"):
            return self._of_all(method, place, question)
        if not place.is_dir():
            return {"Err": f"no volume {name}"}
        if method == "VolumeDriver.Get":
            return {"Volume": {"Name": name, "Mountpoint": str(place) if users else "", "Status": {"colour": "blue"}}}
        if method == "VolumeDriver.Remove":
            shutil.rmtree(place)
        elif method == "VolumeDriver.Mount":
            users.add(question["ID"])
        elif method == "VolumeDriver.Unmount":
            users.discard(question["ID"])
        return {"Mountpoint": str(place)} if method in ("VolumeDriver.Mount", "VolumeDriver.Path") else {}

    def _of_all(self, method: str, place: Path, question: dict[str, Any]) -> dict[str, Any]:
        if method == "Plugin.Activate":
            return {"Implements": ["VolumeDriver"]}
        if method == "VolumeDriver.Capabilities":
            return {"Capabilities": {"Scope": "global"}}
        if method == "VolumeDriver.List":
            found = sorted(path.name for path in self.directory.iterdir())
            return {"Volumes": [{"Name": one, "Mountpoint": str(self.directory / one)} for one in found]}
        if "refuse" in (question["Opts"] or {}):
            return {"Err": "it is refused"}
        place.mkdir(exist_ok=True)
        return {}


class _Handler(BaseHTTPRequestHandler):
    server: VolumePlugin

    def address_string(self) -> str:
        return ""

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_POST(self) -> None:
        method = self.path.removeprefix("/")
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        odd = self.server.odd.get(method)
        if odd == "hang":
            self.server.over.wait()
            return
        if odd == "die":
            return
        answer = self.server.answer(method, json.loads(data or b"{}")) if odd is None else odd
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def plugin(socket: Path, directory: Path) -> Iterator[VolumePlugin]:
    """A plugin that serves while the ``with`` block lasts."""
    directory.mkdir(exist_ok=True)
    with VolumePlugin(socket, directory) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()
            socket.unlink(missing_ok=True)
