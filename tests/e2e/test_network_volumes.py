"""Volumes that a server on the network has.

Only in the virtual machine: its kernel has NFS, client and server, as modules.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemons import Daemon
from support.needs import need, program
from support.nfs_server import exported
from support.smb_server import PASSWORD, USER, shared

pytestmark = [
    need("root", "busybox", "docker", "overlay", "namespaces"),
    pytest.mark.skipif("WHERRY_VM" not in os.environ, reason="runs in the virtual machine"),
]


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory that the server has."""
    directory = tmp_path_factory.mktemp("share")
    (directory / "part").mkdir()
    with exported(directory):
        yield directory


@pytest.fixture(autouse=True)
def _fresh(clean: None, busybox: str) -> None:
    pass


def nfs(daemon: Daemon, name: str, device: str, options: str) -> str:
    words = [word for text in ("type=nfs", f"device={device}", f"o={options}") for word in ("--opt", text)]
    return daemon.docker("volume", "create", *words, name, check=True).stdout.strip()


def test_containers_share_a_servers_directory_and_the_host_does_not(daemon: Daemon, share: Path) -> None:
    volume = nfs(daemon, "remote", ":/part", "addr=localhost,rw,nfsvers=4")
    daemon.docker("run", "-d", "--name", "holder", "-v", f"{volume}:/m", "busybox", "sleep", "600", check=True)
    daemon.docker("exec", "holder", "sh", "-c", "mkdir /m/sub; echo shared > /m/sub/file; chown 7:8 /m/sub/file",
                  check=True)  # fmt: skip
    status = (share / "part/sub/file").stat()
    assert (status.st_uid, status.st_gid, status.st_size) == (7, 8, 7)
    script = "cat /o/sub/file; touch /o/x || echo no; grep -o 'nfs4.*addr=127.0.0.1' /proc/mounts | cut -c 1-8"
    run = ("run", "--rm", "-v", f"{volume}:/o:ro", "busybox", "sh", "-c")
    assert daemon.docker(*run, script, check=True).stdout == "shared\nno\nnfs4 ro,\n"
    subpath = f"type=volume,src={volume},dst=/m,volume-subpath=sub"
    assert daemon.docker("run", "--rm", "--mount", subpath, "busybox", "cat", "/m/file").stdout == "shared\n"
    assert "nfs4" not in Path("/proc/self/mountinfo").read_text()
    daemon.docker("rm", "-f", "holder", check=True)
    daemon.docker("volume", "rm", volume, check=True)
    assert (share / "part/sub/file").read_text() == "shared\n"


@pytest.mark.parametrize(
    ("device", "options", "sentence"),
    [
        (":/nothing", "addr=127.0.0.1,nfsvers=4", "failed to mount local volume: mount :/nothing, type nfs"),
        (":/", "addr=nowhere.invalid,nfsvers=4", "error resolving passed in network volume address"),
    ],
)
def test_what_cannot_be_mounted_is_said(daemon: Daemon, share: Path, device: str, options: str, sentence: str) -> None:
    volume = nfs(daemon, "wrong", device, options)
    refused = daemon.docker("run", "--rm", "-v", f"{volume}:/b", "busybox", "true")
    daemon.docker("volume", "rm", volume, check=True)
    assert refused.returncode in (125, 127)  # the command takes whatever is not found for a program
    assert sentence in refused.stderr


def test_a_servers_directory_gets_the_images_files(daemon: Daemon, share: Path) -> None:
    (share / "empty").mkdir()
    fill = "mkdir /srv; echo kept > /srv/file; ln /srv/file /srv/two"
    daemon.docker("run", "--name", "source", "busybox", "sh", "-c", fill, check=True)
    daemon.docker("commit", "source", "filled", check=True)
    daemon.docker("rm", "source", check=True)
    volume = nfs(daemon, "empty", ":/empty", "addr=127.0.0.1,rw,nfsvers=4")
    shown = daemon.docker("run", "--rm", "-v", f"{volume}:/srv", "filled", "ls", "-A", "/srv", check=True).stdout
    daemon.docker("volume", "rm", volume, check=True)
    assert shown == "file\ntwo\n"
    assert (share / "empty/file").samefile(share / "empty/two")
    assert sorted(os.listdir(share / "empty")) == ["file", "two"]


@pytest.fixture
def windows(tmp_path: Path) -> Iterator[Path]:
    """A directory that a server has by the protocol of Windows."""
    if program("smbd") is None:
        pytest.skip("needs Samba")
    for name in ("share", "own"):
        (tmp_path / name).mkdir(mode=0o755)
    with shared(tmp_path / "share", tmp_path / "own"):
        yield tmp_path / "share"


def test_containers_share_a_directory_of_a_windows_server(daemon: Daemon, windows: Path) -> None:
    password = PASSWORD.replace(",", ",,")
    options = ("type=cifs", "device=//localhost/share", f"o=username={USER},password={password},vers=3.0")
    words = [word for one in options for word in ("--opt", one)]
    daemon.docker("volume", "create", *words, "far", check=True)
    daemon.docker("run", "--name", "source", "busybox", "sh", "-c", "mkdir /srv; echo kept > /srv/file", check=True)
    daemon.docker("commit", "source", "filled", check=True)
    daemon.docker("run", "-d", "--name", "holder", "-v", "far:/srv", "filled", "sleep", "600", check=True)
    assert (windows / "file").read_text() == "kept\n"
    daemon.docker("exec", "holder", "sh", "-c", "mkdir /srv/sub; echo shared > /srv/sub/file", check=True)
    assert (windows / "sub/file").read_text() == "shared\n"
    subpath = "type=volume,src=far,dst=/m,volume-subpath=sub,readonly"
    look = "cat /m/file; touch /m/x || echo no; grep -c ' /m cifs ro,' /proc/mounts"
    assert daemon.docker("run", "--rm", "--mount", subpath, "busybox", "sh", "-c", look).stdout == "shared\nno\n1\n"
    assert "cifs" not in Path("/proc/self/mountinfo").read_text()
    daemon.docker("rm", "-f", "holder", "source", check=True)
    wrong = [word.replace("two", "three") for word in words]
    daemon.docker("volume", "create", *wrong, "refused", check=True)
    refused = daemon.docker("run", "--rm", "-v", "refused:/m", "busybox", "true")
    assert "permission denied" in refused.stderr
    assert "three" not in refused.stderr
    daemon.docker("volume", "rm", "far", "refused", check=True)
