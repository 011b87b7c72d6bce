"""Registries of the tests' own, each on a free port of this machine: wherry's, and Docker's for comparison."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

from support.needs import ROOT, program
from support.ports import free_port

START_TIMEOUT = 120.0


class Registry:
    """A registry, and how to ask it by hand.

    :param users: lines of an htpasswd file; nobody has to log in when there are none.
    """

    def __init__(self, kind: str, users: str = "") -> None:
        self.kind = kind
        self.root = Path(tempfile.mkdtemp(prefix="registry-e2e-"))
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self._users = self.root / "htpasswd" if users else None
        if self._users:
            self._users.write_text(users)

    def start(self) -> None:
        """Start it and wait until it answers."""
        with (self.root / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "OTEL_TRACES_EXPORTER": "none"},
            )  # fmt: skip
        deadline = time.monotonic() + START_TIMEOUT
        while self.status("/v2/") not in (200, 401):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{self.kind} does not answer:\n{(self.root / 'log').read_text()[-3000:]}")
            time.sleep(0.02)

    def _command(self) -> list[str]:
        data = self.root / "data"
        if self.kind == "wherry":
            auth = ["--htpasswd", str(self._users)] if self._users else []
            module = [sys.executable, "-m", "wherry.registry.server", "serve"]
            return [*module, "--addr", self.host, "--root", str(data), "--access-log", "-", *auth]
        auth_text = f"auth: {{htpasswd: {{realm: tests, path: {self._users}}}}}\n" if self._users else ""
        (self.root / "config.yml").write_text(
            f"version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {data}}}}}\n"
            f"http: {{addr: '{self.host}'}}\n{auth_text}"
        )
        return [program("docker-registry") or "docker-registry", "serve", str(self.root / "config.yml")]

    def sent(self, after: int = 0) -> list[str]:
        """The blobs and manifests that were given out since the log had `after` bytes: ``blobs/sha256:...``."""
        log = (self.root / "log").read_bytes()[after:].decode()
        return re.findall(r'"GET /v2/\S+?/((?:blobs|manifests)/\S+) HTTP/[0-9.]+" 20[06]', log)

    def log_size(self) -> int:
        """How long its log is."""
        return (self.root / "log").stat().st_size

    def status(self, path: str) -> int:
        """The status of a GET; 0 when nobody answers."""
        request = urllib.request.Request(
            f"http://{self.host}{path}",
            headers={"Accept": "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"},
        )
        with suppress(OSError):
            try:
                with urllib.request.urlopen(request, timeout=20) as answer:
                    return int(answer.status)
            except urllib.error.HTTPError as error:
                with error:
                    return error.code
        return 0

    def stop(self) -> None:
        """End it and remove what it has."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.root, ignore_errors=True)
