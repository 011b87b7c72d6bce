"""``--storage-opt size=``: a container fills its own layer and no more, and finds no way out of its limit."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.busybox import import_busybox
from support.daemons import Daemon
from support.needs import need
from support.quota_disks import quota_disk
from support.syscalls import Call, made
from wherry.linux.fd import AT_FDCWD
from wherry.linux.seccomp import KEEPS_PROJECTS, compile_profile
from wherry.linux.seccomp_verdict import allows
from wherry.runtime.compile.seccomp import default_profile

pytestmark = [need("root", "busybox", "docker", "overlay", "namespaces")]

LIMIT = ["--storage-opt", "size=4m"]
FILL = "dd if=/dev/zero of=/full bs=1000000 count=9; stat -c %s /full"


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory, busybox_archive: bytes, daemon: Daemon) -> Iterator[Daemon]:
    """A daemon whose data root has project quotas; the one of all tests, which comes first, has forwarding on."""
    with quota_disk("ext4", tmp_path_factory.mktemp("disk")) as place:
        own = Daemon("--debug")
        own.data_root = place / "data"
        try:
            own.start()
            import_busybox(own, busybox_archive)
            yield own
            own.remove_containers()
        finally:
            own.shut_down()


def test_who_fills_its_layer_fills_nobody_elses(limited: Daemon) -> None:
    limited.docker("create", "--name", "small", *LIMIT, "busybox", "sh", "-c", FILL, check=True)
    limited.docker("create", "--name", "free", "busybox", "sh", "-c", FILL, check=True)
    done = limited.docker("start", "-a", "small")
    assert "Disk quota exceeded" in done.stderr
    assert int(done.stdout) <= 4 << 20
    assert limited.docker("start", "-a", "free").stdout == "9000000\n"
    shown = limited.docker("inspect", "-f", "{{.HostConfig.StorageOpt.size}}", "small")
    assert shown.stdout == "4m\n"
    limited.kill9()
    limited.start()
    again = limited.docker("start", "-a", "small")
    assert "Disk quota exceeded" in again.stderr, "the limit is known to the next daemon"
    limited.docker("rm", "small", check=True)
    same = limited.docker(
        "run", "--rm", "--name", "small", *LIMIT, "busybox", "sh", "-c", "head -c 3000000 /dev/zero>/x"
    )
    assert same.returncode == 0, "what a removed container has left does not count"


def test_nobody_changes_projects_where_there_is_a_limit(limited: Daemon) -> None:
    limited.docker("volume", "create", "-o", "size=4m", "small", check=True)
    limited.docker("volume", "create", "free", check=True)
    nobodys = struct.pack("=5I8x", 0, 0, 0, 0, 0)
    leave = [
        Call("openat", (AT_FDCWD, b"/v", os.O_RDONLY, 0)),
        Call("ioctl", (3, 0x401C5820, nobodys)),  # FS_IOC_FSSETXATTR: into no project, and no passing it on
    ]
    assert made(limited, "busybox", leave, "-v", "small:/v") == [3, -errno.EPERM]
    assert made(limited, "busybox", leave, "-v", "free:/v", *LIMIT) == [3, -errno.EPERM]
    assert made(limited, "busybox", leave, "-v", "free:/v") == [3, 0], "else it would do so"
    fill = limited.docker("run", "--rm", "-v", "small:/v", "busybox", "dd", "if=/dev/zero", "of=/v/x", "bs=1000000")
    assert "Disk quota exceeded" in fill.stderr


def test_no_copy_goes_past_a_limit(limited: Daemon, tmp_path: Path) -> None:
    """The engine may have ``CAP_SYS_RESOURCE``, which ext4 keeps to no limit: in the virtual machine it has."""
    (tmp_path / "large").write_bytes(bytes(3_000_000))
    limited.docker("volume", "create", "-o", "size=2m", "tiny", check=True)
    limited.docker("create", "--name", "copied", "-v", "tiny:/v", "busybox", check=True)
    refused = limited.docker("cp", str(tmp_path / "large"), "copied:/v/")
    assert "disk quota exceeded" in refused.stderr
    limited.docker("cp", str(tmp_path / "large"), "copied:/srv", check=True)  # is not in the volume
    limited.docker("rm", "copied", check=True)
    limited.docker(
        "run", "--name", "source", "busybox", "sh", "-c", "mkdir /d; cat /dev/urandom | head -c 3000000 > /d/x"
    )
    limited.docker("commit", "source", "too-large", check=True)
    limited.docker("volume", "create", "-o", "size=2m", "narrow", check=True)
    filled = limited.docker("run", "--rm", "-v", "narrow:/d", "too-large", "true")
    assert "disk quota exceeded" in filled.stderr
    shown = limited.docker("run", "--rm", "-v", "narrow:/v", "busybox", "ls", "-A", "/v", check=True).stdout
    assert shown == ""


def test_a_limit_that_cannot_be_kept_is_refused_in_dockers_words(daemon: Daemon, busybox: str) -> None:
    said = daemon.docker("run", *LIMIT, busybox, "true")
    if "supported only" not in said.stderr:
        pytest.skip("this machine's disk has project quotas")
    assert "--storage-opt is supported only for overlay over xfs with 'pquota' mount option" in said.stderr
    wrong = daemon.docker("run", "--storage-opt", "depth=3", busybox, "true")
    assert "Unknown option depth" in wrong.stderr


def test_no_file_leaves_its_project() -> None:
    profile = {**default_profile(()), KEEPS_PROJECTS: True}
    guarded, plain = compile_profile(profile), compile_profile(default_profile(()))
    set_project, set_flags, get_project, window_size = 0x401C5820, 0x40086602, 0x801C581F, 0x5413
    for command in (set_project, set_flags, 0x40046602, set_project | 1 << 40):
        assert allows(plain, "ioctl", 3, command)
        assert not allows(guarded, "ioctl", 3, command)
    for command in (get_project, window_size, 0):
        assert allows(guarded, "ioctl", 3, command)
    assert allows(guarded, "execve", set_project, set_project)
    assert not allows(guarded, "mount")
