"""Ways out of a container that were open somewhere once; each must stay shut. On the runtime alone, no daemon."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from support.needs import need
from support.runtime_harness import DOCKER_CAPABILITIES, Box
from wherry.errors import SystemFault, WherryError
from wherry.linux.fd import Fd
from wherry.linux.files import RENAME, renameat2
from wherry.linux.mount import MNT_DETACH, mount, umount2
from wherry.linux.process import set_dumpable
from wherry.oci.runtime_spec import Capabilities, DeviceCgroup, Mount, Process, Resources, User
from wherry.runtime.compile.exec import compile_exec
from wherry.runtime.launch import launch
from wherry.runtime.steps import masks, path_in_root, sysctl

pytestmark = [need("root", "busybox", "overlay", "namespaces")]

TRACER = (*DOCKER_CAPABILITIES, "CAP_SYS_PTRACE")
SOURCE = str(Path(masks.__file__).parents[3])


def held(*names: str) -> Capabilities:
    return Capabilities(bounding=names, effective=names, permitted=names)


def protected(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process that protects itself as the engine does."""
    begin = "from wherry.runtime.launch import sealed_exe; sealed_exe.become_untraceable()\n"
    begin += "assert sealed_exe.reexec_from_readonly_mount(['-c', sys.argv[1], *sys.argv[1:]])\n"
    program = f"import sys, os; sys.path[:0] = {[SOURCE, *sys.path]!r}\n{begin}{code}"
    return subprocess.run(
        [sys.executable, "-c", program, program, *arguments], capture_output=True, text=True, check=False, timeout=60
    )


# ----------------------------------------------------------------------- CVE-2019-5736: writing to the engine's program


def test_the_engines_program_lies_on_a_read_only_mount() -> None:
    done = protected(
        "fd = os.open('/proc/self/exe', os.O_PATH)\n"
        "print(os.fstatvfs(fd).f_flag & os.ST_RDONLY, sys.prefix, sys.executable)\n"
        "os.open('/proc/self/exe', os.O_WRONLY)\n"
    )
    assert done.stdout.split() == ["1", sys.prefix, sys.executable], done
    assert "Text file busy" in done.stderr or "Read-only file system" in done.stderr


def test_a_descriptor_of_the_engines_program_cannot_be_opened_for_writing_later() -> None:
    """The attack: hold /proc/<pid>/exe by descriptor, wait until nothing executes it any more, and write then."""
    done = protected(
        "import signal, time\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    signal.pause()\n"
        "fd = os.open(f'/proc/{child}/exe', os.O_PATH)\n"
        "print(fd, os.getpid(), flush=True)\n"
        "os.set_inheritable(fd, True)\n"
        "os.kill(child, 9); os.waitpid(child, 0)\n"
        "os.execv('/bin/sh', ['sh', '-c', f'sleep 0.2; : > /proc/self/fd/{fd}'])\n"
    )
    assert "Read-only file system" in done.stderr, done


def digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_a_program_that_is_a_link_to_the_engines_own_changes_nothing(box: Box) -> None:
    (box.layer / "bin/evil").symlink_to("/proc/self/exe")
    program = os.path.realpath(sys.executable)
    before = digest(program)
    box.run(["/bin/evil", "-c", "open('/proc/self/exe', 'r+b').write(b'x')"], process={"capabilities": held(*TRACER)})
    assert digest(program) == before


# ----------------------------------------------------------- CVE-2024-21626: leaked descriptors and working directories


@pytest.mark.parametrize("number", range(3, 12))
def test_no_descriptor_leads_out_as_a_working_directory(box: Box, number: int) -> None:
    directory = os.open("/", os.O_RDONLY)
    os.set_inheritable(directory, True)
    try:
        result = box.run("cat etc/hostname etc/shadow", process={"cwd": f"/proc/self/fd/{number}"})
    finally:
        os.close(directory)
    assert result.failure is not None
    assert result.failure.kind == "invalid"


def test_a_link_of_the_image_to_a_descriptor_leads_nowhere_either(box: Box) -> None:
    for number in range(3, 9):
        (box.layer / f"way{number}").symlink_to(f"/proc/self/fd/{number}")
        result = box.run("pwd", process={"cwd": f"/way{number}"})
        assert result.failure is not None or result.out == f"/way{number}\n"


def test_exec_has_no_descriptor_that_leads_out(box: Box) -> None:
    with box.running("exec sleep 100") as running:
        for number in range(3, 9):
            assert box.exec(running, "pwd", cwd=f"/proc/self/fd/{number}").failure is not None


# ------------------------------------------------------------------------- CVE-2021-30465: mount targets that are links


def test_a_target_that_is_a_link_out_stays_inside(box: Box, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    source = tmp_path / "source"
    source.mkdir()
    (box.layer / "data").symlink_to(f"../../../../../../..{outside}")
    bind = Mount(destination="/data/place", type="bind", source=str(source), options=("bind",))
    result = box.run("ls -d /data/place", mounts=(bind,))
    assert result.status == 0
    assert list(outside.iterdir()) == []


def test_exchanging_a_target_for_a_link_meanwhile_never_leads_out(box: Box, tmp_path: Path) -> None:
    """The race: another container that shares the volume exchanges a directory and a link for ever."""
    outside, volume = tmp_path / "outside", tmp_path / "volume"
    for path in (outside, volume, volume / "real", tmp_path / "aside"):
        path.mkdir()
    os.symlink(str(outside), tmp_path / "aside/link")
    stop = threading.Event()

    def exchange() -> None:
        while not stop.is_set():
            renameat2(-100, volume / "real", -100, tmp_path / "aside/link", RENAME.EXCHANGE)

    attacker = threading.Thread(target=exchange)
    attacker.start()
    try:
        root = Fd(os.open(volume, os.O_PATH))
        for number in range(400):
            for find in (path_in_root.directory, path_in_root.file):
                try:
                    find(root, f"/real/made/{find.__name__}{number}").fd.close()
                except WherryError:
                    pass  # told, and nothing made
                except OSError as error:
                    assert error.errno in (2, 20), error  # noqa: PT017
    finally:
        stop.set()
        attacker.join()
    assert list(outside.iterdir()) == []


# ---------------------------------------------------------- CVE-2025-31133 and kin: exchanging what hides or is written


def test_files_are_masked_by_the_real_null_device_only(box: Box) -> None:
    """An image (or a sharer of /dev) provides another file as /dev/null: what is masked shows nothing of it."""
    box.write("evil/null", "evil\n")
    bind = Mount(destination="/dev", type="bind", source=str(box.layer / "evil"), options=("bind",))
    linux = {"masked_paths": ("/proc/timer_list", "/proc/kcore")}
    result = box.run("cat /proc/timer_list; stat -c '%t:%T' /proc/timer_list", mounts=(bind,), linux=linux)
    assert result.out == "1:3\n"


READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
DANGEROUS = ("/proc/sys/kernel/core_pattern", "../../proc/sys/kernel/core_pattern")


@pytest.mark.parametrize("aim", DANGEROUS)
def test_a_null_device_that_is_a_link_makes_nothing_writable(box: Box, aim: str) -> None:
    """CVE-2025-31133 to the letter: what hides a file was bound from wherever /dev/null of the container led."""
    (box.layer / "evil").mkdir()
    (box.layer / "evil/null").symlink_to(aim)
    bind = Mount(destination="/dev", type="bind", source=str(box.layer / "evil"), options=("bind",))
    linux = {"masked_paths": ("/proc/timer_list",), "readonly_paths": READONLY}
    before = Path(DANGEROUS[0]).read_text()
    result = box.run(
        "stat -c '%t:%T' /proc/timer_list; echo '|/evil' > /proc/timer_list; cat /proc/timer_list; "
        "echo '|/evil' > /dev/null",
        mounts=(bind,), linux=linux,
    )  # fmt: skip
    assert result.out == "1:3\n"
    assert "Read-only file system" in result.err
    assert Path(DANGEROUS[0]).read_text() == before


@pytest.mark.parametrize("aim", DANGEROUS)
def test_a_console_that_is_a_link_makes_nothing_writable(box: Box, aim: str) -> None:
    """CVE-2025-52565: the terminal was bound on, or from, wherever /dev/console of the container led."""
    for name in ("evil", "evil/pts"):
        (box.layer / name).mkdir()
    (box.layer / "evil/console").symlink_to(aim)
    mounts = (
        Mount(destination="/dev", type="bind", source=str(box.layer / "evil"), options=("bind",)),
        Mount(destination="/dev/pts", type="devpts", source="devpts", options=("newinstance", "ptmxmode=0666")),
    )
    before = Path(DANGEROUS[0]).read_text()
    result = box.run(
        f"echo '|/evil' > {DANGEROUS[0]}; echo '|/evil' > /dev/console; echo 5 > /proc/sys/kernel/shmmax; "
        "test -t 0 && echo has a terminal",
        mounts=mounts, process={"terminal": True}, linux={"readonly_paths": READONLY},
    )  # fmt: skip
    assert Path(DANGEROUS[0]).read_text() == before
    assert result.failure is None, "bound by descriptor, on a place in the root: nothing wrong with that"
    assert "shmmax: Read-only file system" in result.out
    assert result.out.endswith("has a terminal\r\n")


def test_a_mask_is_refused_if_the_hosts_null_device_is_another(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "_NULL_DEVICE", os.makedev(1, 5))
    failure = box.run("true", linux={"masked_paths": ("/proc/timer_list",)}).failure
    assert failure is not None
    assert "not the null device" in failure.text


def test_what_should_be_on_procfs_is_verified(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/kcore").touch()
    with Fd(os.open(tmp_path, os.O_PATH)) as root, pytest.raises(SystemFault, match="not on procfs"):
        masks._opened(root, "/proc/kcore", True)


def test_a_setting_is_not_written_through_a_mount_on_its_way(tmp_path: Path) -> None:
    """CVE-2025-52881: a write meant for /proc/sys/... must not be led to another file of procfs."""
    proc = tmp_path / "proc"
    proc.mkdir()
    mount("proc", proc, "proc")
    mount("tmpfs", proc / "sys", "tmpfs")
    try:
        (proc / "sys/net").mkdir()
        (proc / "sys/net/x").write_text("untouched")
        with Fd(os.open(proc, os.O_PATH)) as root, pytest.raises(WherryError):
            sysctl._write_setting(root, "net/x", "1")
        assert (proc / "sys/net/x").read_text() == "untouched"
    finally:
        umount2(proc, MNT_DETACH)


@pytest.mark.parametrize("aim", ["/proc/sys", "/proc", "/proc/sys/kernel"])
def test_a_mount_that_a_link_leads_over_the_settings_is_noticed(box: Box, tmp_path: Path, aim: str) -> None:
    """CVE-2025-52881 by an image: what the engine writes and protects below /proc must be the kernel's."""
    (box.layer / "data").symlink_to(aim)
    for name in ("sys/kernel/shmmax", "kernel/shmmax", "shmmax", "sysrq-trigger"):
        path = tmp_path / "volume" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("untouched")
    volume = Mount(destination="/data", type="bind", source=str(tmp_path / "volume"), options=("bind",))
    linux = {"sysctl": {"kernel.shmmax": "12345"}, "readonly_paths": READONLY, "masked_paths": ("/proc/timer_list",)}
    result = box.run("cat /proc/sys/kernel/shmmax", mounts=(volume,), linux=linux)
    assert result.failure is not None, result
    assert result.failure.step.startswith("set kernel.shmmax") or "procfs" in result.failure.text, result.failure
    assert {path.read_text() for path in (tmp_path / "volume").rglob("*") if path.is_file()} == {"untouched"}


# ------------------------------------------------------------------------------------------------------------ /proc/sys


def test_kernel_settings_cannot_be_written(box: Box) -> None:
    pattern = Path("/proc/sys/kernel/core_pattern").read_text()
    linux = {"readonly_paths": ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")}
    result = box.run(
        "echo '|/evil' > /proc/sys/kernel/core_pattern; echo b > /proc/sysrq-trigger; umount /proc/sys; "
        "mount -o remount,rw /proc/sys; ls -d /proc/1/root/proc/sys >/dev/null; "
        "echo '|/evil' > /proc/1/root/proc/sys/kernel/core_pattern",
        linux=linux,
    )
    assert result.err.count("Read-only file system") >= 2
    assert Path("/proc/sys/kernel/core_pattern").read_text() == pattern


# ------------------------------------------------------------------------------------------------------------ the disks


def test_a_disk_cannot_be_made_and_read(box: Box) -> None:
    disk = os.stat("/").st_dev
    linux = {"resources": Resources(devices=(DeviceCgroup(allow=False, access="rwm"),))}
    command = (
        f"mknod /disk b {os.major(disk)} {os.minor(disk)}; head -c 512 /disk | wc -c; mknod /mem c 1 1; head -c 1 /mem"
    )
    result = box.run(command, linux=linux)
    assert result.out == "0\n"
    assert result.err.count("Operation not permitted") >= 2


def test_a_nodes_of_an_image_is_shut_by_the_rules_too(box: Box) -> None:
    disk = os.stat("/").st_dev
    os.mknod(box.layer / "disk", stat.S_IFBLK | 0o666, disk)
    linux = {"resources": Resources(devices=(DeviceCgroup(allow=False, access="rwm"),))}
    assert box.run("head -c 512 /disk | wc -c", linux=linux).out == "0\n"


# ---------------------------------------------------------------------------------------------- looking into the engine


def test_a_process_that_has_just_entered_cannot_be_looked_into(box: Box) -> None:
    """Root of the container, without CAP_SYS_PTRACE, watches for the engine's child and tries to open what it has."""
    set_dumpable(False)  # as the keeper is; this process's children inherit it
    try:
        watcher = (
            "echo go > /ready; while :; do for p in /proc/[0-9]*; do "
            "n=$(cat $p/comm 2>/dev/null); case $n in sh|ls|cat|true|sleep|'') ;; *) "
            "ls -l $p/exe $p/fd $p/root >> /seen 2>> /refused; cat $p/mem >> /seen 2>> /refused;; esac; done; done"
        )
        with box.running(watcher) as running:
            for _ in range(30):
                assert box.exec(running, ["true"]).failure is None
        seen = (box.upper / "seen").read_text() if (box.upper / "seen").exists() else ""
    finally:
        set_dumpable(True)
    assert "python" not in seen
    assert "socket:" not in seen
    links = {line.split(" -> ")[1] for line in seen.splitlines() if " -> " in line}
    assert all(link in ("/", "/bin/busybox") or link.startswith(("/dev/", "pipe:", "/proc/")) for link in links), links


def test_init_cannot_be_traced_from_inside(box: Box) -> None:
    with box.running("exec sleep 100", spec={"annotations": {"org.wherry.init": "true"}}) as running:
        result = box.exec(
            running, "cat /proc/1/maps; cat /proc/1/environ; ls -l /proc/1/exe; ls /proc/1/fd; ls /proc/1/root/"
        )
    assert "->" not in result.out
    assert result.err.count("ermission denied") >= 4


def test_an_exec_that_fails_leaves_no_process_in_the_container(box: Box) -> None:
    with box.running("exec sleep 100") as running:
        plan = compile_exec(Process(cwd="/", args=("nosuch",), user=User(uid=5)), state=running.state())
        with open(os.devnull, "r+b") as null:
            started = launch.launch(plan, (null.fileno(),) * 3)
        os.waitpid(started.pid, 0)
        started.pidfd.close()
        started.channel.close()
        assert box.exec(running, "ls -d /proc/[0-9]* | wc -l").out.strip() in ("2", "3", "4")
