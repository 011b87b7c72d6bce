"""What is mounted in a container is what was asked for, whatever it does; and nothing of it is the host's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.actors import MAY_MOUNT, STUCK, begin, started
from support.busybox import import_busybox
from support.daemons import Daemon
from support.needs import need

pytestmark = [need("root", "busybox", "docker", "overlay", "namespaces")]


@pytest.fixture(autouse=True)
def _fresh(clean: None, busybox: str) -> None:
    pass


def blocks(directory: Path) -> int:
    """How many blocks of 512 bytes the files in a directory take; others use its file system as well."""
    return sum(os.lstat(Path(top, name)).st_blocks for top, _, names in os.walk(directory) for name in names)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon whose data root can be filled."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "small", tmp_path], check=True)
    try:
        daemon = Daemon("--debug")
        daemon.data_root = tmp_path / "data"
        try:
            daemon.start()
            yield daemon
            daemon.remove_containers()
        finally:
            daemon.shut_down()
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)


# --- /dev/shm -----------------------------------------------------------------------------------------------


def test_shared_memory_has_its_size_and_neither_devices_nor_programs(daemon: Daemon) -> None:
    started(daemon, "donor", "--ipc", "shareable", "--shm-size", "8m", "busybox", "sleep", "600")
    look = "grep ' /dev/shm ' /proc/mounts; head -c 9000000 /dev/zero > /dev/shm/full; stat -c %s /dev/shm/full"
    mounted = "shm /dev/shm tmpfs rw,nosuid,nodev,noexec,relatime,size=8192k 0 0"
    own = daemon.docker("exec", "donor", "sh", "-c", look).stdout
    joined = daemon.docker("run", "--rm", "--ipc", "container:donor", "busybox", "sh", "-c", look).stdout
    assert own == joined
    assert own.replace(",inode64", "").splitlines() == [mounted, str(8 << 20)]  # kernels may be built with that


def test_shared_memory_lies_nowhere_on_the_host(daemon: Daemon) -> None:
    started(daemon, "donor", "--ipc", "shareable", "busybox", "sh", "-c", "echo secret > /dev/shm/x; sleep 600")
    assert not [path for path in daemon.root.rglob("shm") if "layers" not in path.parts]
    assert str(daemon.exec_root / "containers") not in Path("/proc/self/mountinfo").read_text()


def test_shared_memory_outlives_the_daemon_and_the_one_who_made_it(own_daemon: Daemon, busybox_archive: bytes) -> None:
    import_busybox(own_daemon, busybox_archive)
    started(own_daemon, "donor", "--ipc", "shareable", "busybox", "sh", "-c", "echo kept > /dev/shm/x; sleep 600")
    own_daemon.kill9()
    own_daemon.start()
    started(own_daemon, "second", "--ipc", "container:donor", "busybox", "sleep", "600")
    own_daemon.docker("rm", "-f", "donor", check=True)
    third = own_daemon.docker("run", "--rm", "--ipc", "container:second", "busybox", "cat", "/dev/shm/x")
    assert third.stdout == "kept\n", third.stderr
    own_daemon.remove_containers()


@pytest.mark.parametrize(
    ("deed", "answer"),
    [
        ("umount /dev/shm; mount -t proc proc /dev/shm", "there is no tmpfs at '/dev/shm' any more"),
        ("umount /dev/shm; rmdir /dev/shm; ln -s /proc /dev/shm", "there is no directory at '/dev/shm' any more"),
        ("umount /dev/shm; rmdir /dev/shm; mkfifo /dev/shm", "there is no directory at '/dev/shm' any more"),
    ],
)
def test_nothing_but_shared_memory_is_taken_from_a_container(daemon: Daemon, deed: str, answer: str) -> None:
    started(daemon, "donor", "--ipc", "shareable", "--cap-add", "SYS_ADMIN", "busybox", "sleep", "600")
    daemon.docker("exec", "donor", "sh", "-c", deed, check=True)
    done = daemon.docker("run", "--rm", "--ipc", "container:donor", "busybox", "true")
    assert (done.returncode, answer in done.stderr) == (125, True), done.stderr


@need("fuse")
def test_who_makes_others_wait_for_its_shared_memory_makes_only_them_wait(daemon: Daemon) -> None:
    deed = f"umount /dev/shm; {STUCK.format('/dev/shm')}; echo stuck; sleep 600"
    started(daemon, "donor", "--ipc", "shareable", *MAY_MOUNT, "busybox", "sh", "-c", deed, says="stuck")
    for _ in range(8):  # more than the event loop's pool has threads
        daemon.docker("create", "--ipc", "container:donor", "busybox", "true", check=True)
    waiting = daemon.docker("ps", "-aqf", "status=created").stdout.split()
    tries = [begin(daemon, "start", "-a", one) for one in waiting]
    assert daemon.docker("run", "--rm", "busybox", "echo", "served").stdout == "served\n"
    assert daemon.docker("run", "--rm", "--ipc", "private", "busybox", "echo", "served").stdout == "served\n"
    assert [one.wait(60) for one in tries] == [1] * len(waiting)
    for one in waiting:
        assert "holds it up" in daemon.docker("inspect", "-f", "{{.State.Error}}", one).stdout


# --- hostname, hosts and resolv.conf ------------------------------------------------------------------------

ETC = ("hostname", "hosts", "resolv.conf")


def test_a_read_only_container_cannot_write_to_the_files_that_the_engine_makes(daemon: Daemon) -> None:
    script = "for f in hostname hosts resolv.conf; do echo x 2>/dev/null >> /etc/$f && echo wrote $f; done; true"
    shown = {
        access: daemon.docker("run", "--rm", *access, "busybox", "sh", "-c", script, check=True).stdout.split("\n")
        for access in ((), ("--read-only",))
    }
    assert shown == {(): [*(f"wrote {name}" for name in ETC), ""], ("--read-only",): [""]}


@pytest.mark.parametrize(
    "over", ["--tmpfs=/etc", "--tmpfs=/etc:ro", "-v={0}:/etc", "--mount=type=bind,src={0},dst=/etc"]
)
def test_a_mount_over_etc_does_not_hide_the_files_that_the_engine_makes(
    daemon: Daemon, tmp_path: Path, over: str
) -> None:
    words = ("run", "--rm", "--hostname", "lain", over.format(tmp_path), "busybox")
    shown = daemon.docker(*words, "sh", "-c", "cat /etc/hostname; grep -c lain /etc/hosts; grep -c . /etc/resolv.conf")
    name, hosts, servers = shown.stdout.split()
    assert name == "lain"
    assert int(hosts) >= 1
    assert int(servers) >= 1


def test_a_tmpfs_that_is_read_only_is_so_with_what_is_mounted_in_it(daemon: Daemon) -> None:
    words = ("run", "--rm", "--tmpfs", "/etc:ro", "--tmpfs", "/dev:ro,dev", "busybox")
    script = "echo x > /dev/null && echo null; touch /etc/new /dev/new 2>/dev/null || echo closed"
    assert daemon.docker(*words, "sh", "-c", script).stdout == "null\nclosed\n"


def test_a_file_of_the_callers_over_one_of_the_engines_is_the_callers(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("192.0.2.1 mine\n")
    words = ("run", "--rm", "--read-only", "-v", f"{tmp_path}/hosts:/etc/hosts", "busybox")
    shown = daemon.docker(*words, "sh", "-c", "echo written >> /etc/hosts; cat /etc/hosts", check=True)
    assert shown.stdout == "192.0.2.1 mine\nwritten\n"


def test_who_fills_its_hosts_file_fills_its_own_disk_and_nothing_else(
    small_disk: Daemon, busybox_archive: bytes
) -> None:
    """The exec-root is memory, without which nothing can be started."""
    import_busybox(small_disk, busybox_archive)
    started(small_disk, "filler", "busybox", "sleep", "600")
    memory = blocks(small_disk.exec_root)
    fill = "cat /dev/zero > /etc/hosts; cat /dev/zero > /etc/resolv.conf; cat /dev/zero > /etc/hostname"
    assert "No space left on device" in small_disk.docker("exec", "filler", "sh", "-c", fill).stderr
    assert os.statvfs(small_disk.data_root).f_bfree == 0
    assert blocks(small_disk.exec_root) - memory < 8192
    assert small_disk.docker("exec", "filler", "echo", "lives", check=True).stdout == "lives\n"
    small_disk.docker("exec", "filler", "sh", "-c", ": > /etc/hosts", check=True)
    small_disk.docker("restart", "-t0", "filler", check=True)
    assert small_disk.docker("exec", "filler", "stat", "-c%s", "/etc/hostname", check=True).stdout == "13\n"
    small_disk.docker("rm", "-f", "filler", check=True)
    assert small_disk.docker("run", "--rm", "busybox", "echo", "more", check=True).stdout == "more\n"


IMMUTABLE = r"""
import fcntl, os, struct, time
for name in ("hosts", "hostname", "resolv.conf"):
    fcntl.ioctl(os.open("/etc/" + name, os.O_RDONLY), 0x40086602, struct.pack("Q", 0x10))  # FS_IOC_SETFLAGS
print("immutable", flush=True)
time.sleep(1000)
"""


def test_who_makes_the_engines_files_immutable_is_started_again_and_removed(daemon: Daemon) -> None:
    program = ("host", f"{sys.base_prefix}/bin/python3", "-I", "-S", "-c", IMMUTABLE)
    interpreter = f"-v{sys.base_prefix}:{sys.base_prefix}:ro"
    started(daemon, "rigid", "--cap-add=LINUX_IMMUTABLE", "--network=none", interpreter, *program, says="immutable")
    daemon.docker("restart", "-t", "0", "rigid", check=True)
    daemon.docker("rm", "-f", "rigid", check=True)


def test_a_full_disk_leaves_the_hosts_file_as_it_was(small_disk: Daemon, busybox_archive: bytes) -> None:
    import_busybox(small_disk, busybox_archive)
    small_disk.docker("network", "create", "first", check=True)
    started(small_disk, "filler", "busybox", "sleep", "600")
    started(small_disk, "other", "busybox", "sleep", "600")
    before = small_disk.docker("exec", "other", "cat", "/etc/hosts", check=True).stdout
    small_disk.docker("exec", "filler", "sh", "-c", "cat /dev/zero > /full")
    small_disk.docker("network", "connect", "first", "other")
    after = small_disk.docker("exec", "other", "cat", "/etc/hosts", check=True).stdout
    small_disk.docker("exec", "filler", "rm", "/full", check=True)
    assert after.startswith(before)
    assert "\0" not in after


# --- binds --------------------------------------------------------------------------------------------------


@pytest.fixture
def nested(tmp_path: Path) -> Iterator[Path]:
    """A directory with a file system mounted below it."""
    below = tmp_path / "below"
    below.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "below", below], check=True)
    yield tmp_path
    subprocess.run(["umount", "-l", below], check=True)


@pytest.mark.parametrize(
    ("version", "wish", "written"),
    [
        ("1.51", {"Binds": ["{0}:/x:ro"]}, []),
        ("1.44", {"Binds": ["{0}:/x:ro"]}, []),
        ("1.43", {"Binds": ["{0}:/x:ro"]}, ["below"]),
        ("1.51", {"Binds": ["{0}:/x"]}, ["top", "below"]),
        ("1.51", {"ReadOnly": True}, []),
        ("1.43", {"ReadOnly": True}, ["below"]),
        ("1.51", {"ReadOnly": True, "BindOptions": {"ReadOnlyNonRecursive": True}}, ["below"]),
        ("1.51", {"ReadOnly": True, "BindOptions": {"ReadOnlyForceRecursive": True}}, []),
        ("1.51", {"ReadOnly": True, "BindOptions": {"NonRecursive": True}}, []),
    ],
)
def test_a_read_only_bind_is_so_as_deep_as_the_clients_version_says(
    daemon: Daemon, nested: Path, version: str, wish: dict[str, Any], written: list[str]
) -> None:
    binds = [text.format(nested) for text in wish.get("Binds", ())]
    mounts = [] if binds else [{"Type": "bind", "Source": str(nested), "Target": "/x", **wish}]
    script = "echo > /x/top; echo > /x/below/below; true"
    body = {"Image": "busybox", "Cmd": ["sh", "-c", script], "HostConfig": {"Binds": binds, "Mounts": mounts}}
    made = daemon.request("POST", f"/v{version}/containers/create", body)
    assert made.status == 201, made.body
    assert daemon.request("POST", f"/containers/{made.json['Id']}/start").status == 204
    daemon.request("POST", f"/containers/{made.json['Id']}/wait")
    found = [path.name for path in (nested / "top", nested / "below" / "below") if path.exists()]
    assert found == written


@pytest.mark.parametrize(
    ("version", "options", "answer"),
    [
        (
            "1.51",
            {"ReadOnlyNonRecursive": True},
            "mount options conflict: !ReadOnly && BindOptions.ReadOnlyNonRecursive",
        ),
        (
            "1.51",
            {"ReadOnlyForceRecursive": True},
            "mount options conflict: !ReadOnly && BindOptions.ReadOnlyForceRecursive",
        ),
        ("1.43", {"ReadOnlyForceRecursive": True}, "BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer"),
    ],
)
def test_what_cannot_be_promised_about_a_bind_is_refused(
    daemon: Daemon, tmp_path: Path, version: str, options: dict[str, Any], answer: str
) -> None:
    mounts = [{"Type": "bind", "Source": str(tmp_path), "Target": "/x", "BindOptions": options}]
    body = {"Image": "busybox", "HostConfig": {"Mounts": mounts}}
    made = daemon.request("POST", f"/v{version}/containers/create", body)
    assert (made.status, made.message) == (400, answer)


@pytest.mark.parametrize(
    ("tree", "propagation", "answer"),
    [
        ("private", "rslave", "but it is not a shared or slave mount"),
        ("private", "rshared", "but it is not a shared mount"),
        ("slave", "shared", "but it is not a shared mount"),
        ("slave", "slave", ""),
        ("shared", "rslave", ""),
        ("shared", "rshared", ""),
        ("private", "private", ""),
    ],
)
def test_mounts_come_and_go_only_through_a_mount_that_shares_them(
    daemon: Daemon, nested: Path, tree: str, propagation: str, answer: str
) -> None:
    subprocess.run(["mount", "--make-private", nested / "below"], check=True)
    if tree != "private":
        subprocess.run(["mount", "--make-shared", nested / "below"], check=True)
    if tree == "slave":
        subprocess.run(["mount", "--bind", nested / "below", nested / "below"], check=True)
        subprocess.run(["mount", "--make-slave", nested / "below"], check=True)
    done = daemon.docker("run", "--rm", "-v", f"{nested}/below:/x:{propagation}", "busybox", "true")
    if tree == "slave":
        subprocess.run(["umount", "-l", nested / "below"], check=True)
    assert (done.returncode, answer in done.stderr) == (125 if answer else 0, True), done.stderr
    assert not answer or f"path {nested}/below is mounted on {nested}/below" in done.stderr


def test_what_the_host_mounts_later_comes_in_where_that_was_asked_for(daemon: Daemon, nested: Path) -> None:
    subprocess.run(["mount", "--make-shared", nested / "below"], check=True)
    for name, mode in (("open", "rslave"), ("closed", "rprivate")):
        started(daemon, name, "-v", f"{nested}/below:/x:{mode}", "busybox", "sleep", "600")
    late = nested / "below" / "late"
    late.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "late", late], check=True)
    (late / "file").touch()
    seen = {name: daemon.docker("exec", name, "ls", "/x/late").stdout for name in ("open", "closed")}
    daemon.remove_containers()
    subprocess.run(["umount", late], check=True)
    assert seen == {"open": "file\n", "closed": ""}


# --- devices ------------------------------------------------------------------------------------------------


def test_what_is_no_device_is_no_device(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "zero").symlink_to("/dev/zero")
    for path in ("/etc", f"{tmp_path}/links", "/dev/fd"):
        done = daemon.docker("run", "--rm", "--device", path, "busybox", "true")
        told = f'error gathering device information while adding custom device "{path}": not a device node'
        assert (done.returncode, told in done.stderr) == (125, True), done.stderr


def test_of_a_directory_the_devices_are_given_and_nothing_else(daemon: Daemon, tmp_path: Path) -> None:
    os.mknod(tmp_path / "zero", 0o20666, os.makedev(1, 5))
    (tmp_path / "full").symlink_to("/dev/full")
    (tmp_path / "secret").write_text("secret")
    shown = daemon.docker("run", "--rm", "--device", f"{tmp_path}:/dev/own:r", "busybox", "sh", "-c",
                          "ls /dev/own; head -c1 /dev/own/zero | wc -c", check=True)  # fmt: skip
    assert shown.stdout.split() == ["zero", "1"]
    link = daemon.docker("run", "--rm", "--device", f"{tmp_path}/full:/dev/f", "busybox", "stat", "-c%t:%T", "/dev/f")
    assert link.stdout == "1:7\n", link.stderr


# --- what is memory of the whole engine's -------------------------------------------------------------------


def used(directory: Path) -> int:
    return sum(path.lstat().st_blocks * 512 for path in directory.rglob("*") if not path.is_dir())


def test_no_container_fills_the_exec_root(daemon: Daemon) -> None:
    """Its output without a log, its FIFOs, the files that the engine makes for it, reports of its health."""
    before = used(daemon.exec_root)
    long = ("--health-cmd", "head -c 9000000 /dev/zero; head -c 9000000 /dev/zero >&2", "--health-interval", "100ms")
    script = (
        "head -c 20000000 /dev/zero | tr '\\0' x; for f in /etc/hosts /etc/hostname /etc/resolv.conf; do"
        " head -c 20000000 /dev/zero > $f; done; for n in 0 1 2; do head -c 20000000 /dev/zero > /proc/self/fd/$n &"
        " done; sleep 0.5; kill $(jobs -p); echo over; exec sleep 600"
    )
    for name, log in (("without", "none"), ("with", "local")):
        words = ("--log-driver", log, "-i", *long, "busybox", "sh", "-c", script)
        daemon.docker("run", "-d", "--name", name, *words, check=True)
        with daemon.following("events", "--since", "1", "--filter", f"container={name}", "--filter",
                              "event=health_status") as lines:  # fmt: skip
            next(lines)
    assert used(daemon.exec_root) - before < 8 << 20
