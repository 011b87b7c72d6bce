"""What exporters send, taken by a directory, and read by other programs."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.archives import directory, member, tar
from support.build_products import ExportBench, TakingSession, config_of, product, ran
from support.needs import need
from wherry.api.buildkit.send_tree import TreeSender

pytestmark = need("root", "overlay")

BASE = tar([directory("bin"), member("bin/sh", b"#!" * 500, mode=0o755)])
TOP = tar([member("top", b"1"), member("bin/.wh.sh")])


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[ExportBench]:
    made = ExportBench(tmp_path / "data")
    yield made
    made.store.close()


def test_a_results_files_are_sent_to_a_directory(bench: ExportBench) -> None:
    session = TakingSession()
    made = product({"": bench.layers.snapshot(BASE, TOP)}, session=session)
    assert bench.export_with(made, {"source-date-epoch": "5"}, "local") == {}
    assert session.trees == [("", 5_000_000_000, {"top": b"1"})]


class SendingSession(TakingSession):
    """A client that is sent the packets of a directory as they go to BuildKit's clients."""

    async def send_tree(self, exporter: str, root: Path, *, prefix: str = "", modified: int | None = None) -> None:
        """Keep all packets."""
        sender = TreeSender(root, prefix, modified)
        try:
            self.files[exporter] = b"".join(await asyncio.to_thread(lambda: list(sender.entries())))
        finally:
            sender.close()


def test_a_results_files_are_sent_to_a_client_of_buildkits(bench: ExportBench) -> None:
    session = SendingSession()
    bench.export_with(product({"": bench.layers.snapshot(BASE, TOP)}, session=session), {}, "local")
    assert b"top" in session.files["0"]
    assert b"sh" not in session.files["0"]


def test_files_of_several_platforms_are_sent_to_directories_of_their_own(bench: ExportBench) -> None:
    session = TakingSession()
    snapshots = {"linux/amd64": bench.layers.snapshot(BASE), "linux/arm64": bench.layers.snapshot(TOP)}
    bench.export_with(product(snapshots, session=session), {}, "local")
    assert [(prefix, sorted(files)) for prefix, _, files in session.trees] == [
        ("linux_amd64", ["bin/sh"]),
        ("linux_arm64", ["top"]),
    ]


def archive(bench: ExportBench, path: Path, kind: str, **attributes: str) -> dict[str, str]:
    session = TakingSession()
    made = product({"": bench.layers.snapshot(BASE, TOP)}, config_of([ran("a"), ran("b")]), session=session)
    answer = bench.export_with(made, {"name": "registry.example/app:1", **attributes}, kind)
    path.write_bytes(session.files["0"])
    return answer


@need("skopeo")
@pytest.mark.parametrize("kind", ["oci", "docker"])
def test_skopeo_reads_an_archive(bench: ExportBench, tmp_path: Path, kind: str) -> None:
    answer = archive(bench, tmp_path / "image.tar", kind, compression="zstd" if kind == "oci" else "gzip")
    where = f"{kind}-archive:{tmp_path / 'image.tar'}"
    command = ["skopeo", "inspect", "--tmpdir", str(tmp_path), where]
    shown = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=300).stdout)
    assert shown["Os"] == "linux"
    assert len(shown["Layers"]) == 2
    if kind == "oci":
        assert shown["Digest"] == answer["containerimage.digest"]


@need("podman")
@pytest.mark.parametrize("kind", ["oci", "docker"])
def test_podman_loads_an_archive(bench: ExportBench, tmp_path: Path, kind: str) -> None:
    answer = archive(bench, tmp_path / "image.tar", kind)
    run = tempfile.mkdtemp(prefix="podman-")  # podman wants this name to be short
    podman = ["podman", "--root", str(tmp_path / "root"), "--runroot", run,
              "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "none"]  # fmt: skip
    try:
        loaded = podman_output(*podman, "load", "--input", str(tmp_path / "image.tar"))
        assert "app:1" in loaded
        listed = podman_output(*podman, "images", "--no-trunc", "--quiet")
        assert listed.split() == [answer["containerimage.config.digest"]]
    finally:
        shutil.rmtree(run, ignore_errors=True)


def podman_output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout
