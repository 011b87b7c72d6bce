"""Servers of others' understand what the log drivers send, to the last byte."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from support.daemons import Daemon
from support.needs import need
from support.node_receivers import fluentd, gelf
from support.ports import free_port

pytestmark = [need("root", "busybox", "overlay", "node-receivers"), pytest.mark.usefixtures("clean", "busybox")]

LONG = 40_000  # characters: three entries
SCRIPT = f"echo one; head -c {LONG} /dev/urandom | base64 | tr -d '\\n' | head -c {LONG}; echo"


def run(daemon: Daemon, driver: str, *options: str, script: str = SCRIPT) -> str:
    """Run a container to its end; what it has written, as its client has seen it."""
    given = [word for option in options for word in ("--log-opt", option)]
    flags = ("--rm", "--network", "none", "--name", "sender", "--label", "tier=web", "--log-driver", driver)
    return daemon.docker("run", *flags, *given, "busybox", "sh", "-c", script, check=True).stdout


@pytest.mark.parametrize("acknowledged", [False, True])
@pytest.mark.parametrize("precise", [False, True])
def test_a_server_of_fluentds_protocol(daemon: Daemon, tmp_path: Path, acknowledged: bool, precise: bool) -> None:
    port, began = free_port(), time.time()
    with fluentd(tmp_path, port) as server:
        seen = run(
            daemon, "fluentd", f"fluentd-address=127.0.0.1:{port}", "tag=logs.{{.Name}}", "labels=tier",
            f"fluentd-request-ack={acknowledged}".lower(), f"fluentd-sub-second-precision={precise}".lower(),
        )  # fmt: skip
        entries = server.has(4)
    assert "".join(entry["log"] for entry in entries) == seen.replace("\n", "")
    assert {entry["tag"] for entry in entries} == {"logs.sender"}
    assert {(entry["container_name"], entry["source"], entry["tier"]) for entry in entries} == {
        ("/sender", "stdout", "web")
    }
    assert [entry.get("partial_last") for entry in entries] == [None, "false", "false", "true"]
    assert all(int(began) <= entry["seconds"] <= time.time() for entry in entries)
    assert any(entry["nanoseconds"] for entry in entries) == precise


@pytest.mark.parametrize("compression", ["gzip", "zlib", "none"])
def test_a_server_of_gelf(daemon: Daemon, tmp_path: Path, compression: str) -> None:
    """The long entries take several datagrams, however they are compressed; those may come in any order."""
    port, began = free_port(), time.time()
    with gelf(tmp_path, port) as server:
        options = (f"gelf-address=udp://127.0.0.1:{port}", f"gelf-compression-type={compression}", "labels=tier")
        seen = run(daemon, "gelf", *options)
        entries = server.has(4)
    assert sorted(len(entry["short_message"]) for entry in entries) == [3, LONG - 2 * 16384, 16384, 16384]
    assert all(entry["short_message"] in seen for entry in entries)
    assert {(entry["version"], entry["level"], entry["_tier"], entry["_container_name"]) for entry in entries} == {
        ("1.1", 6, "web", "sender")
    }
    assert all(int(began) <= entry["timestamp"] <= time.time() for entry in entries)
