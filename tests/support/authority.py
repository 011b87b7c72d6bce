"""A certificate authority of a test's own."""

from __future__ import annotations

import subprocess
from pathlib import Path


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        self.certificate = directory / "ca.crt"
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        _openssl("req", "-x509", *key, "-subj", "/CN=ca", "-keyout", f"{directory}/ca.key", "-out", self.certificate)

    def issue(self, name: str) -> tuple[Path, Path]:
        """A certificate for 127.0.0.1 and its key."""
        key, request, certificate = (self.directory / f"{name}.{kind}" for kind in ("key", "csr", "crt"))
        extensions = self.directory / "extensions"
        extensions.write_text("subjectAltName=IP:127.0.0.1\n")
        new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        _openssl("req", *new, "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        _openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.directory / "ca.key",
                 "-CAcreateserial", "-days", "2", "-extfile", extensions, "-out", certificate)  # fmt: skip
        return certificate, key


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
