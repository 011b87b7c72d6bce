"""Directories nested as deep as a container likes: deeper than any stack, any path, any table of descriptors."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from io import BytesIO

import pytest

from support.busybox import busybox_daemon, import_busybox
from support.daemons import Daemon
from support.needs import need

pytestmark = need("root", "busybox", "overlay")

# A chain of a thousand is as long as a path can be; longer ones are put together by renaming.
DIG = """
p=$(printf 'd/%.0s' $(seq 1000)); mkdir -p top/$p; echo deep > top/${p}bottom
i=1; while [ $i -lt COUNT ]; do mkdir -p new/$p; mv top new/${p}top; mv new top; i=$((i+1)); done
"""


def dig(daemon: Daemon, name: str, thousands: int) -> None:
    script = DIG.replace("COUNT", str(thousands))
    daemon.cli("run", "--name", name, "--network", "none", "busybox", "sh", "-c", script, check=True, timeout=300)


def wait_until_gone(daemon: Daemon) -> None:
    """Nothing of what was removed is left."""
    deadline = time.monotonic() + 120
    while daemon.unfinished() or os.listdir(daemon.data_root / "containers"):
        assert time.monotonic() < deadline, daemon.log_tail()
        time.sleep(0.05)


@pytest.fixture
def in_memory(busybox_archive: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    """A daemon whose disk makes a hundred thousand directories in a second."""
    monkeypatch.setattr(tempfile, "tempdir", "/dev/shm")
    with busybox_daemon(busybox_archive) as daemon:
        yield daemon


@pytest.fixture
def attacked(own_daemon: Daemon, busybox_archive: bytes) -> Daemon:
    import_busybox(own_daemon, busybox_archive)
    return own_daemon


def test_a_thousand_nested_directories_are_listed_exported_committed_and_explained(attacked: Daemon) -> None:
    dig(attacked, "deep", 1)
    bottom = "top/" + "d/" * 1000 + "bottom"
    assert f"A /{bottom}" in attacked.cli("diff", "deep", check=True).stdout.splitlines()
    archive = attacked.request("GET", "/containers/deep/export").body
    with tarfile.open(fileobj=BytesIO(archive)) as exported:
        assert bottom in exported.getnames()
    assert attacked.request("GET", "/containers/json", all=True, size=True).json[0]["SizeRw"] == 5
    explained = json.loads(attacked.cli("explain", "deep", "--format", "{{json .}}", check=True).stdout)
    assert {"Path": f"/{bottom}", "Bytes": 5} in explained["Writable"]["CopiedUp"]
    attacked.cli("commit", "deep", "deeper", check=True)
    done = attacked.cli("run", "--rm", "--network", "none", "deeper", "cat", f"/{bottom}", check=True)
    assert done.stdout == "deep\n"
    for command in (("system", "df"), ("system", "fsck")):
        attacked.cli(*command, check=True)
    attacked.cli("rm", "deep", check=True)
    attacked.cli("rmi", "deeper", check=True)
    wait_until_gone(attacked)


@pytest.mark.timeout(600)
def test_fifty_thousand_nested_directories_are_answered_and_removed(in_memory: Daemon) -> None:
    dig(in_memory, "abyss", 50)
    listed = in_memory.request("GET", "/containers/abyss/changes")
    assert (listed.status, "more than can be listed" in listed.json["message"]) == (413, True)
    committed = in_memory.request("POST", "/commit", container="abyss", repo="abyss")
    assert (committed.status, "4095" in committed.json["message"]) == (413, True)
    assert in_memory.request("GET", "/containers/json", all=True, size=True).json[0]["SizeRw"] == 5
    in_memory.cli("system", "df", check=True)
    in_memory.cli("rm", "abyss", check=True)
    in_memory.kill9()  # in the middle of its removal, most likely
    in_memory.start()
    wait_until_gone(in_memory)
    assert "cannot remove" not in in_memory.log_tail()


def test_a_tree_that_cannot_be_removed_does_not_keep_the_daemon_from_starting(attacked: Daemon) -> None:
    attacked.stop()
    stuck = attacked.data_root / "tmp" / "removed-stuck"
    (stuck / "mounted").mkdir(parents=True)
    (stuck / "file").touch()
    (attacked.data_root / "layers" / "77").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", stuck / "mounted"], check=True)
    try:
        attacked.start()
        attacked.cli("run", "--rm", "--network", "none", "busybox", "true", check=True)
        deadline = time.monotonic() + 60
        while "cannot remove a directory tree completely" not in attacked.log_tail():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert not (stuck / "file").exists(), "what can be removed goes"
    finally:
        subprocess.run(["umount", stuck / "mounted"], check=True)
    attacked.restart()
    wait_until_gone(attacked)
