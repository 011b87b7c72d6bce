"""``wherry-oci checkpoint`` and ``restore``, with a criu that works on this kernel."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.needs import need
from support.oci_command import Bundles, bundles_in
from support.processes import wait_for

pytestmark = need("root", "busybox", "criu")

#: criu 3.17 does not restore it, which would be refused.
OLD = {"noNewPrivileges": False}
COUNT = "i=0; while :; do i=$((i+1)); echo $i >/data/count; sleep 0.05; done"


@pytest.fixture
def oci(tmp_path: Path) -> Iterator[Bundles]:
    """Bundles, and the command."""
    with bundles_in(tmp_path) as bundles:
        yield bundles


def counted(data: Path) -> int:
    """How far the program has counted; 0 while it writes."""
    return int((data / "count").read_text().strip() or 0) if (data / "count").exists() else 0


def cgroup_options() -> list[str]:
    """Those of the hierarchy of version 2: one set for all mounts of it."""
    lines = (line.partition(" - ")[2].split() for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return [options for kind, _, options in lines if kind == "cgroup2"]


def hook(log: Path, word: str) -> dict[str, object]:
    """A hook that notes that it was run, and of which process."""
    script = f"sed -n 's/.*\"pid\": \\([0-9]*\\).*/{word} \\1/p' >>{log}"
    return {"path": "/bin/sh", "args": ["sh", "-c", script]}


def test_a_program_goes_on_where_it_was(oci: Bundles, tmp_path: Path) -> None:
    """What is bound is bound again, what is closed is closed, hooks are run as with runc, and rights do not grow."""
    data, log, images = tmp_path / "data", tmp_path / "hooks", tmp_path / "images"
    data.mkdir()
    mounts = [
        {"destination": "/data", "type": "bind", "source": str(data), "options": ["rbind"]},
        {"destination": "/var/run/x", "type": "bind", "source": str(data), "options": ["bind", "ro"]},
    ]
    kinds = ("prestart", "createRuntime", "poststart", "poststop")
    bundle = oci.bundle("one", "sh", "-c", COUNT, **OLD)
    (bundle / "rootfs/run").mkdir()
    (bundle / "rootfs/var").mkdir()
    (bundle / "rootfs/var/run").symlink_to("/run")
    spec = json.loads((bundle / "config.json").read_text())
    spec["mounts"] += mounts
    spec["hooks"] = {kind: [hook(log, kind)] for kind in kinds}
    oci.write(bundle, spec)
    oci.create("one", start=True)
    wait_for(lambda: counted(data) > 2)
    options = cgroup_options()

    oci.do("checkpoint", "--leave-running", "--image-path", str(images / "first"), "one")
    assert oci.state("one")["status"] == "running"
    assert cgroup_options() == options, "criu mounts the hierarchy anew, without any"
    last = ["--image-path", str(images / "last"), "--work-path", str(tmp_path / "work")]
    oci.do("checkpoint", *last, "one")
    assert oci.left() == []
    before = counted(data)
    log.write_text("")

    spec["process"]["capabilities"]["bounding"] = ["CAP_KILL"]
    oci.write(bundle, spec)
    again = ["restore", "--detach", *last, "--bundle", str(bundle), "--pid-file", str(tmp_path / "pid"), "one"]
    assert oci.to_file("one", *again).returncode == 1
    assert "has capabilities beyond its specification" in oci.output("one")
    assert oci.left() == []
    spec["process"]["capabilities"]["bounding"] = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
    oci.write(bundle, spec)
    log.write_text("")

    assert oci.to_file("one", *again).returncode == 0, oci.output("one")
    wait_for(lambda: counted(data) > before)
    assert cgroup_options() == options
    state = oci.state("one")
    assert state["status"] == "running"
    assert (tmp_path / "pid").read_text() == str(state["pid"])
    assert log.read_text() == f"prestart {state['pid']}\ncreateRuntime {state['pid']}\n"
    inside = oci.do("exec", "one", "cat", "/proc/1/mountinfo")
    lines = {line.split()[4]: line.split()[5].split(",") for line in inside.splitlines()}
    assert {"/data", "/run/x", "/proc/sys", "/proc/keys"} <= set(lines)
    assert all("ro" in lines[path] for path in ("/run/x", "/proc/sys", "/proc/keys", "/proc/timer_list"))
    assert "rw" in lines["/data"]
    assert oci.to_file("one", *again).returncode == 1, "there is one"
    oci.do("kill", "one", "KILL")
    oci.becomes("one", "stopped")
    oci.do("delete", "one")
    assert "poststop" in log.read_text()


@need("dirty-memory")
def test_memory_is_written_ahead_while_it_runs(oci: Bundles, tmp_path: Path) -> None:
    bundle = oci.bundle("one", "sleep", "1000", **OLD)
    oci.create("one", start=True)
    oci.do("checkpoint", "--pre-dump", "--image-path", str(tmp_path / "first"), "one")
    assert oci.state("one")["status"] == "running"
    last = ["--image-path", str(tmp_path / "last")]
    oci.do("checkpoint", *last, "--parent-path", "../first", "one")
    assert (tmp_path / "last/parent").is_symlink()
    restored = oci.to_file("one", "restore", "--detach", *last, "--bundle", str(bundle), "one")
    assert restored.returncode == 0, oci.output("one")
    assert oci.state("one")["status"] == "running"


def test_a_terminal_is_handed_over_again(oci: Bundles, tmp_path: Path) -> None:
    bundle = oci.bundle("tty", "sh", "-c", "echo ready; read x; echo got $x; sleep 100", terminal=True, **OLD)
    images = ["--image-path", str(tmp_path / "images")]
    with oci.console() as console:
        oci.do("run", "--detach", "--bundle", str(bundle), "--console-socket", console.path, "tty")
        console.sees(b"ready")
        oci.do("checkpoint", *images, "tty")
    with oci.console() as console:
        oci.do("restore", "--detach", *images, "--bundle", str(bundle), "--console-socket", console.path, "tty")
        console.types(b"word\r")
        console.sees(b"got word")
