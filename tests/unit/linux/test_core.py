"""Errors, descriptors and flags of :mod:`wherry.linux`, as any user."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support.children import in_child
from wherry.errors import InvalidInput, SystemCallError, Unsupported
from wherry.linux import _libc, files, mount, namespaces, process
from wherry.linux.fd import AT_FDCWD, Fd
from wherry.linux.files import RESOLVE
from wherry.linux.mount import AT, MS


class TestErrors:
    def test_name_the_call_its_operands_the_flags_and_the_error(self) -> None:
        with pytest.raises(SystemCallError) as caught:
            mount.mount("/a", "/nowhere/at all", "ext4", MS.BIND | MS.RDONLY, "data=ordered")
        text = str(caught.value)
        assert text.startswith("mount '/a' on '/nowhere/at all', type ext4, MS_RDONLY|MS_BIND, options 'data=ordered'")
        assert caught.value.errno in (errno.ENOENT, errno.EPERM)

    def test_show_bits_without_a_name_as_a_number(self) -> None:
        assert _libc.flag_names(MS, MS.NODEV | 1 << 40) == "MS_NODEV|0x10000000000"
        assert _libc.flag_names(MS, 0) == "0"

    @pytest.mark.parametrize(
        ("call", "code", "expected"),
        [
            ("fsopen", errno.ENOSYS, "too old"),
            ("clone3", errno.ENOSPC, "/proc/sys/user"),
            ("unshare", errno.EPERM, "user namespaces"),
            ("mount", errno.ENOSPC, "mount-max"),
            ("move_mount", errno.EBUSY, "still uses it"),
            ("openat2", errno.EXDEV, "leads out"),
        ],
    )
    def test_have_a_hint_where_the_kernels_text_misleads(self, call: str, code: int, expected: str) -> None:
        with pytest.raises(SystemCallError) as caught:
            _libc.fail(call, "", number=code)
        assert expected in (caught.value.hint or "")

    def test_explain_an_overlay_that_is_invalid(self) -> None:
        with pytest.raises(SystemCallError, match="kernel log"):
            _libc.fail("mount", "'overlay' on '/x', type overlay", number=errno.EINVAL)

    def test_refuse_a_path_that_the_kernel_would_cut(self) -> None:
        with pytest.raises(ValueError, match="NUL"):
            mount.umount2("/proc\0/secret")


class TestFd:
    def test_is_minus_one_once_closed_and_closes_only_once(self) -> None:
        fd = Fd(os.open("/dev/null", os.O_RDONLY))
        number = fd.fileno()
        fd.close()
        other = os.open("/dev/null", os.O_RDONLY)
        assert other == number, "the number should be in use again"
        fd.close()
        os.fstat(other)
        os.close(other)
        assert fd.fileno() == -1
        assert fd.closed

    def test_detached_belongs_to_the_caller(self) -> None:
        fd = Fd(os.open("/dev/null", os.O_RDONLY))
        number = fd.detach()
        del fd
        os.fstat(number)
        os.close(number)

    def test_closes_with_its_scope_and_with_the_object(self) -> None:
        with Fd(os.open("/dev/null", os.O_RDONLY)) as fd:
            number = fd.fileno()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(number)
        fd = Fd(os.open("/dev/null", os.O_RDONLY))
        number = fd.fileno()
        del fd
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(number)

    def test_duplicate_is_close_on_exec(self) -> None:
        with Fd(os.open("/dev/null", os.O_RDONLY)) as fd, fd.duplicate() as second:
            assert not os.get_inheritable(second.fileno())


class TestFiles:
    def test_openat2_stays_within_the_root(self, tmp_path: Path) -> None:
        (tmp_path / "etc").mkdir()
        (tmp_path / "etc/passwd").write_text("mine")
        (tmp_path / "up").symlink_to("../../../../etc/passwd")
        (tmp_path / "absolute").symlink_to("/etc/passwd")
        with Fd(os.open(tmp_path, os.O_PATH)) as root:
            for name in ("up", "absolute", "/../etc/passwd"):
                with files.openat2(root, name, os.O_RDONLY) as fd:
                    assert os.read(fd.fileno(), 9) == b"mine"

    def test_openat2_tells_why_it_refuses(self, tmp_path: Path) -> None:
        (tmp_path / "out").symlink_to("/etc")
        with Fd(os.open(tmp_path, os.O_PATH)) as root:
            with pytest.raises(SystemCallError, match="leads out"):
                files.openat2(root, "out", os.O_RDONLY, resolve=RESOLVE.BENEATH)
            with pytest.raises(SystemCallError, match="symbolic link"):
                files.openat2(root, "out", os.O_RDONLY, resolve=RESOLVE.NO_SYMLINKS)

    def test_openat2_creates_with_the_mode(self, tmp_path: Path) -> None:
        with files.openat2(AT_FDCWD, tmp_path / "new", os.O_CREAT | os.O_WRONLY, 0o640, 0) as fd:
            assert stat.S_IMODE(os.fstat(fd.fileno()).st_mode) == 0o640

    def test_a_sealed_memfd_cannot_be_changed(self) -> None:
        with files.memfd("plan", b"content") as fd:
            assert os.read(fd.fileno(), 99) == b"content"
            with pytest.raises(PermissionError):
                os.pwrite(fd.fileno(), b"x", 0)
            with pytest.raises(PermissionError):
                os.ftruncate(fd.fileno(), 0)

    def test_close_range_marks_and_closes(self) -> None:
        def work() -> list[bool]:
            kept = os.dup2(os.open("/dev/null", os.O_RDONLY), 900, inheritable=True)
            files.close_range(900, 901, files.CLOSE_RANGE.CLOEXEC)
            marked = not os.get_inheritable(kept)
            files.close_range(900, 901)
            return [marked, os.path.exists("/proc/self/fd/900")]

        assert in_child(work) == [True, False]

    def test_renameat2_does_not_replace_when_told_so(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("a")
        (tmp_path / "b").write_text("b")
        with pytest.raises(SystemCallError, match="RENAME_NOREPLACE"):
            files.renameat2(AT_FDCWD, tmp_path / "a", AT_FDCWD, tmp_path / "b", files.RENAME.NOREPLACE)
        files.renameat2(AT_FDCWD, tmp_path / "a", AT_FDCWD, tmp_path / "b", files.RENAME.EXCHANGE)
        assert (tmp_path / "a").read_text() == "b"

    def test_directories_are_kept_apart_where_the_file_system_can(self, tmp_path: Path) -> None:
        directory = tmp_path / "apart"
        directory.mkdir()
        with Fd(os.open(directory, os.O_RDONLY | os.O_DIRECTORY)) as fd:
            can = files.keep_apart(fd)
            assert files.keep_apart(fd) is can
            if can:
                flags = bytearray(8)
                fcntl.ioctl(fd.fileno(), 0x80086601, flags)  # FS_IOC_GETFLAGS
                assert int.from_bytes(flags[:4], "little") & 0x20000
        with Fd(os.open("/proc/self", os.O_RDONLY | os.O_DIRECTORY)) as fd:
            assert files.keep_apart(fd) is False

    def test_signalfd_receives(self) -> None:
        def work() -> int:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
            with files.signalfd({signal.SIGUSR1}) as fd:
                os.kill(os.getpid(), signal.SIGUSR1)
                return int.from_bytes(os.read(fd.fileno(), 128)[:4], "little")

        assert in_child(work) == signal.SIGUSR1

    def test_statfs_takes_a_path_or_a_descriptor(self) -> None:
        with Fd(os.open("/proc", os.O_RDONLY)) as proc:
            assert mount.statfs("/proc").f_type == mount.statfs(proc).f_type == 0x9FA0


TELLS_EXIT_STATUS = tuple(int(part) for part in os.uname().release.split(".")[:2]) >= (6, 15)


def cloned(flags: int = 0) -> Callable[[], int]:
    """``os.fork``, but by our clone."""
    return lambda: process.clone(flags)[0]


class TestProcess:
    def test_a_clone_is_a_working_python(self) -> None:
        def work() -> tuple[bool, int]:
            second = os.fork()  # as an init does
            if second == 0:
                os._exit(7)
            return os.getpid() != parent, os.waitpid(second, 0)[1]

        parent = os.getpid()
        assert in_child(work, fork=cloned()) == (True, 7 << 8)

    def test_a_clone_runs_what_was_registered_for_forks(self) -> None:
        code = """
import os
from wherry.linux import process
seen = []
os.register_at_fork(before=lambda: seen.append(1), after_in_child=lambda: seen.append(2))
pid, pidfd = process.clone(0)
if pid == 0:
    os._exit(sum(seen))
print(process.waitid_pidfd(pidfd) >> 8, seen)
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
        assert done.stdout.strip() == "3 [1]"

    @pytest.mark.parametrize(("leave", "status"), [(lambda: os._exit(3), 3 << 8), (lambda: os.kill(os.getpid(), 9), 9)])
    def test_a_pidfd_tells_how_the_child_ended(self, leave: Callable[[], None], status: int) -> None:
        pid, pidfd = process.clone(0)
        if pid == 0:
            leave()
        assert pidfd is not None
        with pidfd:
            assert process.waitid_pidfd(pidfd) == status
            if TELLS_EXIT_STATUS:
                assert process.pidfd_exit_status(pidfd) == status
            else:
                with pytest.raises(Unsupported, match=r"Linux 6\.15"):
                    process.pidfd_exit_status(pidfd)

    def test_a_running_process_has_no_exit_status(self) -> None:
        pid, pidfd = process.clone(0)
        if pid == 0:
            signal.pause()
        assert pidfd is not None
        with pidfd:
            assert process.waitid_pidfd(pidfd, block=False) is None
            if TELLS_EXIT_STATUS:
                assert process.pidfd_exit_status(pidfd) is None
            process.pidfd_send_signal(pidfd, signal.SIGKILL)
            assert process.waitid_pidfd(pidfd, reap=False) == 9
            assert process.waitid_pidfd(pidfd) == 9
            with pytest.raises(SystemCallError, match="ESRCH"):
                process.pidfd_send_signal(pidfd, signal.SIGTERM)

    def test_the_childs_pidfd_is_not_inherited(self) -> None:
        pid, pidfd = process.clone(0)
        if pid == 0:
            os._exit(0)
        assert pidfd is not None
        with pidfd:
            assert not os.get_inheritable(pidfd.fileno())
            process.waitid_pidfd(pidfd)

    def test_a_clone_that_shares_memory_is_refused(self) -> None:
        with pytest.raises(ValueError, match="shares"):
            process.clone(process.CLONE.VM)

    def test_the_old_call_serves_where_clone3_is_hidden(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(process, "_CLONE3", 100_000)  # ENOSYS
        pid, pidfd = process.clone(0)
        if pid == 0:
            os._exit(5)
        assert pidfd is not None
        assert process.waitid_pidfd(pidfd) == 5 << 8
        with pytest.raises(SystemCallError, match="too old"):
            process.clone(process.CLONE.NEWTIME)  # its bit means something else to the old call

    def test_execveat_runs_a_descriptor(self, tmp_path: Path) -> None:
        script = tmp_path / "out"

        def work() -> None:
            with Fd(os.open("/bin/sh", os.O_PATH | os.O_CLOEXEC)) as shell:
                process.execveat(shell, "", ["sh", "-c", f'echo "$A" > {script}'], {"A": "b"}, AT.EMPTY_PATH)

        pid, pidfd = process.clone(0)
        if pid == 0:
            try:
                work()
            finally:
                os._exit(9)
        assert pidfd is not None
        assert process.waitid_pidfd(pidfd) == 0
        assert script.read_text() == "b\n"

    def test_properties_of_a_process(self) -> None:
        def work() -> tuple[str, str, int]:
            process.set_name("a-name")
            process.set_no_new_privs()
            process.set_dumpable(False)
            process.set_child_subreaper(True)
            process.set_pdeathsig(signal.SIGKILL)
            process.set_keepcaps(False)
            status = Path("/proc/thread-self/status").read_text()
            flags = next(line for line in status.splitlines() if line.startswith("NoNewPrivs"))
            return Path("/proc/thread-self/comm").read_text().strip(), flags.split()[1], process.prctl(3)

        assert in_child(work) == ("a-name", "1", 0)

    def test_personality_only_asked_stays(self) -> None:
        before = process.personality(0xFFFFFFFF)
        assert process.personality(0xFFFFFFFF) == before


class TestNamespaces:
    def test_one_is_opened_by_process_or_path(self) -> None:
        with (
            namespaces.open_namespace(os.getpid(), "uts") as one,
            namespaces.open_namespace("/proc/self/ns/uts", "uts") as two,
        ):
            assert namespaces.kind_of(one) == "uts"
            assert namespaces.namespace_inode(one, "uts") == namespaces.namespace_inode(two, "uts")
            assert namespaces.namespace_inode(os.getpid(), "uts") == namespaces.namespace_inode(one, "uts")

    def test_another_kind_and_another_file_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidInput, match="is of kind ipc"):
            namespaces.open_namespace("/proc/self/ns/ipc", "net")
        os.mkfifo(tmp_path / "fifo")
        with pytest.raises(InvalidInput, match="is no net namespace"):
            namespaces.open_namespace(tmp_path / "fifo", "net")
        with pytest.raises(SystemCallError, match="ENOENT"):
            namespaces.open_namespace(tmp_path / "none", "net")

    def test_all_kinds_of_this_kernel_are_known(self) -> None:
        present = {name.removesuffix("_for_children") for name in os.listdir("/proc/self/ns")}
        assert present <= set(namespaces.KINDS)


def test_importing_the_package_is_cheap() -> None:
    """The keeper imports it: what is heavy must not come along."""
    code = (
        "import sys\n"
        "from wherry.linux import mount, process, files, fd, capabilities, seccomp, bpf, ifreq, pty, namespaces\n"
        "print([m for m in ('dataclasses', 'inspect', 'subprocess', 'asyncio', 'threading') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout.strip() == "[]"
