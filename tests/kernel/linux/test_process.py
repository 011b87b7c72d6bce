"""Namespaces, capabilities, filters, terminals and device programs, as root, in children."""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.children import in_child, need, need_cgroup2, need_root
from wherry.errors import SystemCallError
from wherry.linux import bpf, capabilities, ifreq, mount, namespaces, process, pty, seccomp
from wherry.linux.bpf import DeviceRule
from wherry.linux.capabilities import CAP
from wherry.linux.fd import Fd
from wherry.linux.process import CLONE


@pytest.fixture(autouse=True)
def root() -> None:
    need_root()


class TestNamespaces:
    def test_a_clone_is_first_in_its_namespaces(self) -> None:
        flags = CLONE.NEWPID | CLONE.NEWUTS | CLONE.NEWIPC | CLONE.NEWNS | CLONE.NEWCGROUP | CLONE.NEWNET

        def work() -> tuple[int, str, str]:
            process.sethostname("inside")
            process.setdomainname("realm")
            return os.getpid(), socket.gethostname(), Path("/proc/sys/kernel/domainname").read_text().strip()

        before = socket.gethostname()
        assert in_child(work, fork=lambda: process.clone(flags)[0]) == (1, "inside", "realm")
        assert socket.gethostname() == before

    def test_one_is_left_and_joined_again(self) -> None:
        def work() -> list[bool]:
            own = namespaces.namespace_inode(os.getpid(), "net")
            with namespaces.open_namespace(os.getpid(), "net") as host:
                process.unshare(CLONE.NEWNET)
                left = namespaces.namespace_inode(os.getpid(), "net") != own
                process.setns(host, CLONE.NEWNET)
            return [left, namespaces.namespace_inode(os.getpid(), "net") == own]

        assert in_child(work) == [True, True]

    def test_all_of_a_process_are_joined_by_its_pidfd(self) -> None:
        reader, writer = os.pipe()
        pid, pidfd = process.clone(CLONE.NEWUTS | CLONE.NEWIPC)
        if pid == 0:
            process.sethostname("target")
            os.close(reader)
            os.write(writer, b"x")
            signal_wait()
        assert pidfd is not None
        os.read(reader, 1)

        def work() -> str:
            process.setns(pidfd, CLONE.NEWUTS | CLONE.NEWIPC)
            return socket.gethostname()

        try:
            assert in_child(work) == "target"
        finally:
            process.pidfd_send_signal(pidfd, 9)
            process.waitid_pidfd(pidfd)
            for fileno in (reader, writer):
                os.close(fileno)

    def test_the_wrong_kind_is_refused_with_a_hint(self) -> None:
        with namespaces.open_namespace(os.getpid(), "net") as fd, pytest.raises(SystemCallError, match="another kind"):
            process.setns(fd, CLONE.NEWUTS)

    def test_too_many_namespaces_point_at_the_limit(self) -> None:
        def work() -> str:
            process.unshare(CLONE.NEWUSER)
            Path("/proc/sys/user/max_uts_namespaces").write_text("0")
            try:
                process.unshare(CLONE.NEWUTS)
            except SystemCallError as error:
                return str(error)
            return ""

        assert "/proc/sys/user" in in_child(work)

    def test_the_loopback_interface_is_switched_on(self) -> None:
        def work() -> list[bool]:
            before = ifreq.is_link_up("lo")
            ifreq.set_link_up("lo")
            return [before, ifreq.is_link_up("lo")]

        assert in_child(work, fork=lambda: process.clone(CLONE.NEWNET)[0]) == [False, True]
        with pytest.raises(SystemCallError, match="'nosuch0'"):
            ifreq.set_link_up("nosuch0")

    def test_a_descriptor_is_taken_out_of_another_process(self) -> None:
        reader, writer = os.pipe()
        pid, pidfd = process.clone(0)
        if pid == 0:
            signal_wait()
        assert pidfd is not None
        with pidfd, process.pidfd_getfd(pidfd, reader) as copy:
            os.write(writer, b"through")
            assert os.read(copy.fileno(), 9) == b"through"
            process.pidfd_send_signal(pidfd, 9)
            process.waitid_pidfd(pidfd)
        os.close(reader)
        os.close(writer)

    def test_a_session_keyring_of_its_own(self) -> None:
        def work() -> bool:
            return process.keyctl_join_session_keyring("wherry-test") > 0

        assert in_child(work)

    def test_priorities(self) -> None:
        def work() -> tuple[int, int]:
            process.ioprio_set(3, 0)
            process.sched_setattr(3, nice=5)  # SCHED_BATCH
            process.set_mempolicy(1, [0])  # MPOL_PREFERRED
            return os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0)

        assert in_child(work) == (os.SCHED_BATCH, 5)


def signal_wait() -> None:
    """Be a process that does nothing until it is killed."""
    while True:
        signal.pause()


class TestCapabilities:
    def test_those_dropped_from_the_bounding_set_do_not_come_back(self) -> None:
        def work() -> tuple[bool, bool]:
            keep = {CAP.CHOWN, CAP.SETPCAP}
            capabilities.bounding_drop(set(range(capabilities.last_cap() + 1)) - keep)
            return capabilities.bounding_read() == keep, CAP.SYS_ADMIN in capabilities.bounding_read()

        assert in_child(work) == (True, False)

    def test_sets_are_replaced(self) -> None:
        def work() -> list[bool]:
            wanted = {CAP.NET_BIND_SERVICE, CAP.CHECKPOINT_RESTORE}
            capabilities.capset({CAP.NET_BIND_SERVICE}, wanted, wanted)
            sets = capabilities.capget()
            capabilities.ambient_raise({CAP.NET_BIND_SERVICE})
            ambient = capabilities.ambient_read()
            capabilities.ambient_clear()
            empty = capabilities.ambient_read()
            expected = ({CAP.NET_BIND_SERVICE}, wanted, wanted)
            return [tuple(map(set, sets)) == expected, ambient == {CAP.NET_BIND_SERVICE}, not empty]

        assert in_child(work) == [True, True, True]

    def test_an_ambient_one_must_be_inheritable(self) -> None:
        def work() -> str:
            capabilities.capset({CAP.KILL}, {CAP.KILL}, ())
            try:
                capabilities.ambient_raise({CAP.KILL})
            except SystemCallError as error:
                return str(error)
            return ""

        assert "CAP_KILL" in in_child(work)

    def test_dropping_without_the_right_says_which(self) -> None:
        def work() -> str:
            capabilities.capset((), (), ())
            try:
                capabilities.bounding_drop({CAP.MKNOD})
            except SystemCallError as error:
                return str(error)
            return ""

        assert "CAP_MKNOD" in in_child(work)
        assert "CAP_SETPCAP" in in_child(work)


class TestSeccomp:
    def test_a_loaded_filter_decides(self) -> None:
        need(seccomp.is_available(), "libseccomp")
        profile = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EXFULL}],
        }
        program = seccomp.compile_profile(profile)

        def work() -> int | None:
            process.set_no_new_privs()
            seccomp.load(program, seccomp.filter_flags(profile))
            try:
                os.mkdir("/tmp/never")
            except OSError as error:
                return error.errno
            return 0

        assert in_child(work) == errno.EXFULL

    def test_loading_without_the_right_is_explained(self) -> None:
        allow = bytes.fromhex("0600000000 00ff7f".replace(" ", ""))

        def work() -> str:
            capabilities.capset((), (), ())
            try:
                seccomp.load(allow)
            except SystemCallError as error:
                return str(error)
            return ""

        assert "no_new_privs" in in_child(work)

    def test_a_broken_program_is_refused(self) -> None:
        def work() -> int:
            try:
                seccomp.load(b"\xff" * 8)
            except SystemCallError as error:
                return error.errno
            return 0

        assert in_child(work) == errno.EINVAL


class TestTerminals:
    def test_one_is_made_in_a_devpts_of_its_own(self) -> None:
        def work() -> list[object]:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # comes when the master is closed
            with mount.fsopen("devpts") as context:
                mount.fsconfig_string(context, "ptmxmode", "0666")
                mount.fsconfig_create(context)
                with mount.fsmount(context) as devpts, pty.open_master(devpts) as master:
                    pty.set_winsize(master, 33, 99)
                    os.setsid()
                    with pty.open_peer(master) as terminal:
                        pty.make_controlling(terminal)
                        os.write(terminal.fileno(), b"hello")
                        size = pty.get_winsize(terminal)
                        group = os.tcgetpgrp(terminal.fileno())
                        return [size, pty.pts_number(master), os.read(master.fileno(), 9), group == os.getpid()]

        assert in_child(work) == [(33, 99), 0, b"hello", True]

    def test_a_controlling_terminal_needs_a_session(self) -> None:
        def work() -> str:
            with (
                Fd(os.open("/dev/pts", os.O_RDONLY)) as devpts,
                pty.open_master(devpts) as master,
                pty.open_peer(master) as terminal,
            ):
                try:
                    pty.make_controlling(terminal)
                except SystemCallError as error:
                    return str(error)
            return ""

        assert "setsid" in in_child(work)


class TestDevicePrograms:
    @pytest.fixture
    def group(self) -> Iterator[Path]:
        path = need_cgroup2() / f"wherry-test-{os.getpid()}"
        path.mkdir()
        yield path
        path.rmdir()

    def outcomes(self, group: Path, *attempts: tuple[str, int]) -> list[str]:
        """Try to open devices within the cgroup, born there."""

        def work() -> list[str]:
            found = []
            for name, flags in attempts:
                try:
                    os.close(os.open(name, flags))
                    found.append("ok")
                except OSError as error:
                    found.append(errno.errorcode[error.errno or 0])
            return found

        with Fd(os.open(group, os.O_RDONLY)) as directory:
            return in_child(work, fork=lambda: process.clone(0, cgroup_fd=directory)[0])

    def attach(self, group: Path, allow: bool, *rules: DeviceRule) -> list[int]:
        with (
            Fd(os.open(group, os.O_RDONLY)) as directory,
            bpf.load_device_program(bpf.assemble_device_program(allow, rules)) as program,
        ):
            bpf.replace_all(directory, program)
            return bpf.attached(directory)

    def test_the_kernel_verifies_and_obeys_them(self, group: Path) -> None:
        self.attach(group, False, DeviceRule("c", 1, 3, "rwm"), DeviceRule("c", 1, 5, "r"))
        attempts = (("/dev/null", os.O_RDWR), ("/dev/zero", os.O_RDONLY), ("/dev/zero", os.O_RDWR))
        assert self.outcomes(group, *attempts) == ["ok", "ok", "EPERM"]

    def test_exceptions_from_allowing_deny(self, group: Path) -> None:
        self.attach(group, True, DeviceRule("c", 1, 3, "w"))
        attempts = (("/dev/null", os.O_RDWR), ("/dev/null", os.O_RDONLY), ("/dev/zero", os.O_RDWR))
        assert self.outcomes(group, *attempts) == ["EPERM", "ok", "ok"]

    def test_a_new_one_replaces_the_old_one(self, group: Path) -> None:
        first = self.attach(group, False)
        second = self.attach(group, False, DeviceRule("a", None, None, "rw"))
        assert len(second) == 1 != len(set(first) & set(second))
        assert self.outcomes(group, ("/dev/null", os.O_RDWR)) == ["ok"]

    def test_a_long_list_loads(self, group: Path) -> None:
        rules = [DeviceRule("bc"[n % 2], n, None if n % 3 else n, ("rwm", "r", "rw")[n % 3]) for n in range(500)]
        assert len(self.attach(group, False, *rules)) == 1

    def test_a_refused_one_comes_with_the_verifiers_words(self) -> None:
        with pytest.raises(SystemCallError, match="not an exit"):
            bpf.load_device_program(bpf.assemble_device_program(False, [])[:-8])
