"""Files into and out of containers: the docker command, docker-py and wherry, compared with what dockerd did."""

from __future__ import annotations

import io
import os
import socket
import tarfile
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import APIError, NotFound

from support.actors import started
from support.daemons import Daemon
from support.needs import need

pytestmark = [need("root", "busybox", "docker"), pytest.mark.usefixtures("clean", "busybox")]

#: Arguments of ``cp`` out of a container, and what is in the directory afterwards, or the error; as dockerd has it.
OUT = {
    "web:/d new": ["new", "new/a", "new/link", "new/sub", "new/sub/b"],
    "web:/d there": ["there", "there/d", "there/d/a", "there/d/link", "there/d/sub", "there/d/sub/b"],
    "web:/d/. there": ["there", "there/a", "there/link", "there/sub", "there/sub/b"],
    "web:/d/. new": ["new", "new/a", "new/link", "new/sub", "new/sub/b"],
    "web:/dl/ there": ["there", "there/dl", "there/dl/a", "there/dl/link", "there/dl/sub", "there/dl/sub/b"],
    "web:/d/a new": ["new"],
    "web:/d/a there": ["there", "there/a"],
    "web:/fl new": ["new"],
    "-L web:/fl there": ["there", "there/fl"],
    "web:/d file": "cannot copy directory",
    "web:/d/a new/": "no such directory",
    "web:/d/a no/where": 'invalid output path: directory "{}/no" does not exist',
    "web:/nope new": "Could not find the file /nope in container web",
    "-L web:/broken there": "Could not find the file /nowhere in container web",
    "web:/a web:/b": "copying between containers is not supported",
}
#: The same into a container, and what is in its directory /t.
IN = {
    "one web:/t": "./dir ./dir/kept ./dl ./file ./one",
    "one web:/t/new": "./dir ./dir/kept ./dl ./file ./new",
    "one web:/t/file": "./dir ./dir/kept ./dl ./file",
    "one web:/t/dl": "./dir ./dir/kept ./dir/one ./dl ./file",
    "src web:/t/dir": "./dir ./dir/kept ./dir/src ./dir/src/in ./dir/src/in/two ./dl ./file",
    "src/. web:/t/dir": "./dir ./dir/in ./dir/in/two ./dir/kept ./dl ./file",
    "src web:/t/new": "./dir ./dir/kept ./dl ./file ./new ./new/in ./new/in/two",
    "lsrc web:/t": "./dir ./dir/kept ./dl ./file ./lsrc",
    "lsrc/ web:/t": "./dir ./dir/kept ./dl ./file ./lsrc ./lsrc/in ./lsrc/in/two",
    "-L lsrc web:/t": "./dir ./dir/kept ./dl ./file ./lsrc ./lsrc/in ./lsrc/in/two",
    "one web:/t/new/": "!no such directory",
    "src web:/t/file": "!cannot copy directory",
    "one web:/t/no/new": "!Could not find the file /t/no in container web",
    "missing web:/t": "!no such file or directory",
}  # fmt: skip


def cp(daemon: Daemon, program: str, words: str, directory: Path) -> str:
    """Run ``cp``; returns what it says on standard error."""
    run = daemon.docker if program == "docker" else daemon.cli
    result = run("cp", *(word if word[0] == "-" or ":" in word else f"{directory}/{word}" for word in words.split()))
    assert bool(result.returncode) == bool(result.stderr.strip())
    return result.stderr


@pytest.fixture
def web(daemon: Daemon) -> Daemon:
    """A running container."""
    script = (
        "mkdir -p /d/sub; echo a >/d/a; echo b >/d/sub/b; ln -s a /d/link; ln -s /d/sub/b /fl; ln -s d /dl; "
        "ln -s nowhere /broken; mkdir -p /t/dir; touch /t/file /t/dir/kept; ln -s dir /t/dl; echo ready; "
        "exec sleep 600"
    )
    started(daemon, "web", "--tmpfs", "/tt", "busybox", "sh", "-c", script, says="ready")
    return daemon


@pytest.mark.parametrize("program", ["docker", "wherry"])
def test_copies_out_of_a_container_arrive_as_with_docker(web: Daemon, tmp_path: Path, program: str) -> None:
    for number, (words, wanted) in enumerate(OUT.items()):
        place = tmp_path / str(number)
        (place / "there").mkdir(parents=True)
        (place / "file").touch()
        said = cp(web, program, words, place)
        if isinstance(wanted, str):
            assert wanted.format(place) in said, words
            continue
        found = sorted(str(path.relative_to(place)) for path in place.rglob("*"))
        assert found == sorted({*wanted, "there", "file"}), (words, said)


@pytest.mark.parametrize("program", ["docker", "wherry"])
def test_copies_into_a_container_arrive_as_with_docker(web: Daemon, tmp_path: Path, program: str) -> None:
    (tmp_path / "src/in").mkdir(parents=True)
    (tmp_path / "src/in/two").write_text("two")
    (tmp_path / "one").write_text("one")
    (tmp_path / "lsrc").symlink_to("src")
    for words, wanted in IN.items():
        said = cp(web, program, words, tmp_path)
        if wanted.startswith("!"):
            assert wanted[1:] in said, words
        else:
            again = "cd /t; find . | sort; rm -rf /t/one /t/new /t/lsrc /t/dir/*; touch /t/file /t/dir/kept"
            found = web.docker("exec", "web", "sh", "-c", again, check=True).stdout.split()
            assert found == [".", *wanted.split()], (words, said)


def test_owners_modes_and_tmpfs(web: Daemon, tmp_path: Path) -> None:
    (tmp_path / "one").write_text("one")
    os.chown(tmp_path / "one", 1234, 4321)
    (tmp_path / "one").chmod(0o4751)
    cp(web, "docker", "one web:/tt", tmp_path)
    look = web.docker("exec", "web", "stat", "-c", "%u:%g %a", "/tt/one", check=True)
    assert look.stdout == "1234:4321 4751\n"
    cp(web, "wherry", "web:/tt/one back", tmp_path)
    assert (tmp_path / "back").read_text() == "one"


def test_paused_stopped_and_created_containers(web: Daemon, tmp_path: Path) -> None:
    (tmp_path / "one").write_text("one")
    (tmp_path / "v").mkdir()
    web.docker("pause", "web", check=True)
    assert cp(web, "docker", "one web:/paused", tmp_path) == ""
    web.docker("kill", "web", check=True)
    assert cp(web, "docker", "one web:/stopped", tmp_path) == ""
    web.docker("start", "web", check=True)
    look = web.docker("exec", "web", "cat", "/paused", "/stopped", check=True)
    assert look.stdout == "oneone"
    web.docker("create", "--name", "new", "-v", f"{tmp_path}/v:/v", "busybox", "cat", "/v/one", "/one", check=True)
    assert cp(web, "docker", "one new:/v", tmp_path) + cp(web, "wherry", "one new:/one", tmp_path) == ""
    assert web.docker("start", "-a", "new", check=True).stdout == "oneone"
    assert (tmp_path / "v/one").read_text() == "one"


@pytest.mark.parametrize("state", ["run", "create"])
def test_what_is_read_only_says_so(daemon: Daemon, tmp_path: Path, state: str) -> None:
    (tmp_path / "one").write_text("one")
    (tmp_path / "v").mkdir()
    options = ("--read-only", "-v", f"{tmp_path}/v:/r:ro", "-v", f"{tmp_path}/v:/w")
    daemon.docker(state, *(["-d"] if state == "run" else []), "--name", "web", *options, "busybox", "sleep", "600")
    assert "container rootfs is marked read-only" in cp(daemon, "docker", "one web:/tmp", tmp_path)
    assert "mounted volume is marked read-only" in cp(daemon, "docker", "one web:/r", tmp_path)
    assert cp(daemon, "docker", "one web:/w", tmp_path) == ""
    assert (tmp_path / "v/one").read_text() == "one"


def test_docker_py_gets_and_puts_archives(web: Daemon) -> None:
    client = docker.DockerClient(base_url=web.host, version="auto", timeout=60)
    container: Any = client.containers.get("web")
    pieces, status = container.get_archive("/d")
    assert (status["name"], status["mode"] >> 31, status["linkTarget"]) == ("d", 1, "")
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as found:
        names = found.getnames()
    assert names == ["d", "d/a", "d/link", "d/sub", "d/sub/b"]
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        member = tarfile.TarInfo("deep/er/file")
        member.size = 2
        archive.addfile(member, io.BytesIO(b"hi"))
    assert container.put_archive("/t", made.getvalue())
    assert web.docker("exec", "web", "cat", "/t/deep/er/file", check=True).stdout == "hi"
    with pytest.raises(NotFound, match="Could not find the file /nope in container"):
        container.get_archive("/nope")
    with pytest.raises(APIError, match="extraction point is not a directory"):
        container.put_archive("/t/file", made.getvalue())
    client.close()


def test_a_start_waits_for_a_copy_and_a_client_that_leaves_ends_it(daemon: Daemon) -> None:
    daemon.docker("create", "--name", "web", "busybox", "true", check=True)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(daemon.socket))
        client.sendall(b"PUT /containers/web/archive?path=/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        member = tarfile.TarInfo("half")
        member.size = 1 << 20
        client.sendall(b"200\r\n" + member.tobuf(tarfile.USTAR_FORMAT) + b"\r\n")
    daemon.docker("start", "-a", "web", check=True)
    daemon.docker("rm", "web", check=True)
