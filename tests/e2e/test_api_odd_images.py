"""Root file systems that lack what a container needs, or have links in its place: they run, or the start says why."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from machine import static_busybox
from support.daemons import Daemon
from support.needs import need

pytestmark = [need("root", "busybox", "overlay"), pytest.mark.usefixtures("clean")]

NAME = "odd:1"


@pytest.fixture
def odd(daemon: Daemon) -> Iterator[Any]:
    """Makes an image of busybox and some links."""

    def make(**links: str) -> None:
        answer = daemon.request(
            "POST", "/images/create", _archive(links), headers={"Content-Type": "application/x-tar"},
            fromSrc="-", repo="odd", tag="1", changes="ENV PATH=/bin",
        )  # fmt: skip
        assert answer.status == 200, answer.body
        assert b'"error"' not in answer.body, answer.body

    yield make
    daemon.remove_containers()
    daemon.request("DELETE", f"/images/{NAME}", force=True)


def _archive(links: dict[str, str]) -> bytes:
    program = static_busybox()
    assert program
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, target in {**links, "bin/sh": "busybox"}.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
        entry = tarfile.TarInfo("bin/busybox")
        entry.mode, entry.size = 0o755, program.stat().st_size
        with program.open("rb") as content:
            archive.addfile(entry, content)
    return buffer.getvalue()


def run(daemon: Daemon, script: str) -> tuple[int, str]:
    """The exit code and the output of a script, or the status and the message of a start that failed."""
    body = {"Image": NAME, "Cmd": ["sh", "-c", script], "Tty": True, "HostConfig": {"NetworkMode": "none"}}
    container = daemon.request("POST", "/containers/create", body).json["Id"]
    answer = daemon.request("POST", f"/containers/{container}/start")
    if answer.status != 204:
        return answer.status, answer.message
    code = daemon.request("POST", f"/containers/{container}/wait").json["StatusCode"]
    return code, daemon.request("GET", f"/containers/{container}/logs", stdout=1).body.decode().strip()


def test_what_an_image_lacks_is_there_all_the_same(daemon: Daemon, odd: Any) -> None:
    odd()
    script = "busybox ls / /etc; busybox test -c /dev/null && busybox test -e /proc/self/exe && echo complete"
    code, shown = run(daemon, script)
    assert (code, shown.splitlines()[-1]) == (0, "complete"), shown
    assert {"dev", "etc", "proc", "sys", "hosts", "hostname", "resolv.conf"} <= set(shown.split())


@pytest.mark.parametrize("name", ["proc", "sys"])
def test_a_link_in_the_place_of_the_kernels_files_is_refused(
    daemon: Daemon, odd: Any, tmp_path: Path, name: str
) -> None:
    odd(**{name: str(tmp_path)})
    status, message = run(daemon, "echo runs")
    assert (status, f"/{name}" in message) == (400, True), message
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("target", ["{outside}", "../../../../../../..{outside}"])
@pytest.mark.parametrize("name", ["dev", "etc", "etc/hosts", "etc/resolv.conf"])
def test_a_link_out_of_the_image_leads_to_a_place_in_it(
    daemon: Daemon, odd: Any, tmp_path: Path, name: str, target: str
) -> None:
    odd(**{name: target.format(outside=tmp_path / "x")})
    before = mounts()
    code, shown = run(daemon, "busybox test -c /dev/null && busybox grep -c localhost /etc/hosts && echo complete")
    assert (code, shown.splitlines()[-1:]) == (0, ["complete"]), shown
    assert os.listdir(tmp_path) == []
    assert mounts() <= before


def mounts() -> set[str]:
    """The mounts of the host; not the disks of tests that run beside this one."""
    return {line for line in Path("/proc/self/mountinfo").read_text().splitlines() if "/wherry-disk-" not in line}


def test_a_link_that_leads_to_itself_is_refused(daemon: Daemon, odd: Any) -> None:
    odd(dev="dev")
    status, message = run(daemon, "echo runs")
    assert (status, "too many levels of symbolic links" in message) == (500, True), message
    assert "/dev" in message


def test_nobody_inside_can_write_to_the_program_that_starts_containers(daemon: Daemon) -> None:
    """CVE-2019-5736: what /proc/<pid>/exe of a process that enters a container leads to lies on a read-only mount."""
    program = os.open(f"/proc/{daemon.keeper_pid}/exe", os.O_PATH)
    try:
        assert os.fstatvfs(program).f_flag & os.ST_RDONLY
    finally:
        os.close(program)
