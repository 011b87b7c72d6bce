"""Secrets of builds, sought in every byte that the daemon keeps: layers, logs, records, keys, statements, caches."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.busybox import busybox_daemon
from support.daemons import Daemon
from support.needs import need

pytestmark = need("root", "busybox", "overlay", "namespaces", "ssh-agent")

DOCKERFILE = r"""
FROM busybox:latest
RUN --mount=type=secret,id=file cat /run/secrets/file | md5sum > /one
RUN --mount=type=secret,id=variable,env=TOKEN echo "$TOKEN" | md5sum > /two
RUN --mount=type=secret,id=file,target=/etc/token,mode=0444 --mount=type=ssh cat /etc/token > /dev/null
RUN echo "$HTTP_PROXY" | md5sum > /three
"""


@pytest.fixture
def daemon(busybox_archive: bytes) -> Iterator[Daemon]:
    """One of its own: what others keep does not matter."""
    with busybox_daemon(busybox_archive) as one:
        yield one


class Hidden:
    """What must be nowhere.

    :ivar words: by which a build is given it.
    :ivar texts: the texts themselves.
    """

    def __init__(self, place: Path) -> None:
        self.texts = [f"{name}{secrets.token_hex(12)}" for name in ("file", "variable", "proxy", "comment")]
        file, self.variable, proxy, comment = self.texts
        (place / "secret").write_text(file)
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", place / "key"]
        subprocess.run(make, check=True)
        self.texts += (place / "key").read_text().split("\n")[1:4]
        self.words = [
            "--secret", f"id=file,src={place / 'secret'}", "--secret", "id=variable,env=HIDDEN",
            "--ssh", f"default={place / 'key'}", "--build-arg", f"HTTP_PROXY=http://user:{proxy}@192.0.2.1",
        ]  # fmt: skip

    def holders(self, *roots: Path) -> list[str]:
        """The files that have any of it."""
        found = []
        for path in (Path(top, name) for root in roots for top, _, names in os.walk(root) for name in names):
            if path.is_file() and not path.is_symlink():
                data = path.read_bytes()
                found += [f"{path}: {text}" for text in self.texts if text.encode() in data]
        return found


def test_secrets_keys_and_proxies_are_in_no_byte_that_is_kept(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place := tmp_path / "hidden").mkdir()
    hidden = Hidden(place)
    monkeypatch.setenv("HIDDEN", hidden.variable)
    (context := tmp_path / "context").mkdir()
    (context / "Dockerfile").write_text(DOCKERFILE)
    (context / "Failing").write_text(f"{DOCKERFILE}RUN --mount=type=secret,id=file false\n")
    (context / "Leaking").write_text("FROM busybox:latest\nRUN --mount=type=secret,id=file cp /run/secrets/file /\n")
    told = ["--explain", "--provenance", "mode=max", "--sbom", "true", "--metadata-file", str(tmp_path / "metadata")]
    kept = ["--cache-to", "type=inline"]
    daemon.cli("build", *hidden.words, *told, *kept, "-t", "built:1", str(context), check=True)
    daemon.cli("build", *hidden.words, *told, "-t", "built:1", str(context), check=True)
    assert daemon.cli("build", *hidden.words, "-f", str(context / "Failing"), str(context)).returncode != 0
    said = daemon.cli("build", "logs", check=True).stdout + daemon.cli("build", "inspect", "built:1", check=True).stdout
    said += daemon.docker("history", "--no-trunc", "built:1", check=True).stdout
    assert [text for text in hidden.texts if text in said] == []
    roots = [daemon.data_root, daemon.exec_root, tmp_path / "context"]
    assert hidden.holders(*roots) == []
    assert [text for text in hidden.texts if text in (tmp_path / "metadata").read_text()] == []
    daemon.cli("build", *hidden.words, "-f", str(context / "Leaking"), str(context), check=True)
    assert hidden.holders(*roots), "a step that copies a secret is found: so are others"
