"""A docker-registry for the length of a measurement, and a way to put images into it that nobody else made."""

from __future__ import annotations

import hashlib
import http.client
import json
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_TIMEOUT = 20.0
_PIECE = 1 << 20


class Registry:
    """Docker's registry on a free port of this machine."""

    def __init__(self, root: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.host = f"127.0.0.1:{self.port}"
        self.root = root

    def start(self) -> subprocess.Popen[bytes]:
        """Start it and wait for its answer.

        :raises RuntimeError: it does not come.
        """
        configuration = self.root / "config.yml"
        configuration.write_text(
            "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
            f"storage: {{filesystem: {{rootdirectory: {self.root / 'data'}}}}}\nhttp: {{addr: '{self.host}'}}\n"
        )
        process = subprocess.Popen(["docker-registry", "serve", str(configuration)], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline and process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.01)
            else:
                return process
        process.kill()
        raise RuntimeError("docker-registry does not start")

    def put(self, repository: str, layer: Path) -> str:
        """Have an image of one layer, compressed by gzip as Docker would; gives its name."""
        packed = layer.with_suffix(".gz")
        with packed.open("wb") as out:
            subprocess.run(["gzip", "-n", "-c", str(layer)], check=True, stdout=out)
        diff_id = _digest(layer)
        config = json.dumps(
            {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [diff_id]}}
        ).encode()
        kind = "application/vnd.docker.distribution.manifest.v2+json"
        manifest = {
            "schemaVersion": 2,
            "mediaType": kind,
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "digest": self._upload(repository, config),
                "size": len(config),
            },
            "layers": [
                {
                    "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                    "digest": self._upload(repository, packed),
                    "size": packed.stat().st_size,
                }
            ],
        }
        packed.unlink()
        self._ask("PUT", f"/v2/{repository}/manifests/1", json.dumps(manifest).encode(), kind)
        return f"{self.host}/{repository}:1"

    def _upload(self, repository: str, data: bytes | Path) -> str:
        digest = _digest(data) if isinstance(data, Path) else f"sha256:{hashlib.sha256(data).hexdigest()}"
        place = self._ask("POST", f"/v2/{repository}/blobs/uploads/")
        target = place.partition(self.host)[2]
        self._ask("PUT", f"{target}&digest={digest}", data, "application/octet-stream")
        return digest

    def _ask(self, method: str, path: str, body: bytes | Path | None = None, kind: str = "") -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        headers = {"Content-Type": kind} if kind else {}
        if isinstance(body, Path):
            with body.open("rb") as file:
                connection.request(method, path, file, {**headers, "Content-Length": str(body.stat().st_size)})
                answer = connection.getresponse()
        else:
            connection.request(method, path, body or b"", headers)
            answer = connection.getresponse()
        answer.read()
        connection.close()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status}")
        return answer.getheader("Location", "")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


@contextmanager
def serving(directory: Path) -> Iterator[Registry | None]:
    """A registry, or None where there is no docker-registry.

    :param directory: where its data goes for as long.
    """
    if shutil.which("docker-registry") is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="registry-", dir=directory) as root:
        registry = Registry(Path(root))
        process = registry.start()
        try:
            yield registry
        finally:
            process.terminate()
            process.wait()
