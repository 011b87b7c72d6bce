"""``wherry build --build-context NAME=DIR``: directories beside the context, with a real daemon."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.busybox import busybox_daemon
from support.daemons import Daemon
from support.needs import need

pytestmark = need("root", "busybox", "overlay", "namespaces")


@pytest.fixture(scope="module")
def daemon(busybox_archive: bytes) -> Iterator[Daemon]:
    """One for all of these."""
    with busybox_daemon(busybox_archive) as one:
        yield one


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.05)


def build(daemon: Daemon, dockerfile: str, *words: str) -> subprocess.CompletedProcess[str]:
    done = daemon.cli("build", "--progress", "plain", *words, "-", input=dockerfile)
    wait_for(lambda: not [name for name in daemon.unfinished() if name.startswith("context-")])
    return done


def write(root: Path, **files: str) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def test_directories_are_sources_of_copies_and_of_stages(daemon: Daemon, tmp_path: Path) -> None:
    lib, base = write(tmp_path / "lib", a="of lib", b="of lib"), write(tmp_path / "base", x="of base")
    (lib / ".dockerignore").write_text("b\n")
    (lib / "big").write_bytes(os.urandom(5 << 20))
    dockerfile = (
        "FROM base AS empty\nFROM busybox:latest\nCOPY --from=lib . /lib\nCOPY --from=empty /x /x\n"
        "RUN --mount=from=lib,target=/m cmp /m/big /lib/big && cat /lib/a /x && ls -A /lib\n"
    )
    words = ["--build-context", f"Lib={lib}", "--build-context", f"base:latest={base}"]
    done = build(daemon, dockerfile, *words)
    assert done.returncode == 0, done.stderr
    assert "of libof base" in done.stderr
    said = [line.rpartition(" ")[2] for line in done.stderr.splitlines()]
    assert {".dockerignore", "a", "big"} <= set(said)
    assert "b" not in said
    again = build(daemon, dockerfile, *words)
    assert again.stderr.count("CACHED") >= 3
    (lib / "a").write_text("changed")
    assert "changedof base" in build(daemon, dockerfile, *words).stderr


def test_a_directory_stands_for_an_image(daemon: Daemon, tmp_path: Path) -> None:
    mine = write(tmp_path / "mine", file="not of any registry")
    dockerfile = "FROM busybox:latest\nCOPY --from=example.com/some/image:1 /file /file\nRUN cat /file\n"
    done = build(daemon, dockerfile, "--build-context", f"example.com/some/image:1={mine}")
    assert "not of any registry" in done.stderr, done.stderr


def test_a_directory_that_nothing_needs_is_not_read(daemon: Daemon, tmp_path: Path) -> None:
    lib = write(tmp_path / "lib", a="x")
    words = ["--build-context", f"lib={lib}"]
    assert build(daemon, "FROM busybox:latest\nRUN true\n", *words).returncode == 0
    os.truncate(lib / "a", 300 << 30)  # nothing but a hole, and more than a context may have
    failed = build(daemon, "FROM busybox:latest\nCOPY --from=lib a /a\n", *words)
    assert failed.returncode == 1
    assert "the archive has a file of 322122547200 bytes" in failed.stderr


def test_what_is_no_directory_is_said_before_anything_is_built(daemon: Daemon, tmp_path: Path) -> None:
    for word in ("lib=none", "lib", "lib=", "=x", f"lib={tmp_path}/none", "lib=oci-layout://x", "a b=."):
        done = build(daemon, "FROM busybox:latest\n", "--build-context", word)
        assert (done.returncode, "#1" in done.stderr) == (1, False), done.stderr


def test_links_of_a_directory_lead_nowhere_else(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of the host alone")
    lib = write(tmp_path / "lib", a="x")
    (lib / "out").symlink_to(tmp_path)
    (lib / "file").symlink_to(tmp_path / "secret")
    (lib / "up").symlink_to("../../../../../../../../etc/hostname")
    for source in ("out/secret", "file", "up"):
        dockerfile = f"FROM busybox:latest\nCOPY --from=lib {source} /a\nRUN cat /a || true\n"
        done = build(daemon, dockerfile, "--build-context", f"lib={lib}")
        assert "of the host alone" not in done.stderr
        assert (done.returncode, "not found" in done.stderr) == (1, True), done.stderr
