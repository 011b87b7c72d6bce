"""What a container may ask of the kernel itself: interfaces that act on the whole machine are shut, by name."""

from __future__ import annotations

import errno
import platform
from pathlib import Path

import pytest

from support.daemons import Daemon
from support.needs import need
from support.syscalls import Call, made

pytestmark = [
    need("root", "busybox", "overlay", "namespaces"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the program is for x86-64"),
]

NEWNS, NEWUTS, NEWUSER, NEWNET = 0x20000, 0x4000000, 0x10000000, 0x40000000
SESSION_KEYRING = -3  # the one that a container would share with the engine
PROGRAM = b"\xb7" + bytes(7) + b"\x95" + bytes(7)  # r0 = 0; exit

#: Each gets another answer than "not permitted" where it may be asked (the last test), and does no harm there.
SHUT = {
    "keyrings": Call("keyctl", (0, SESSION_KEYRING, 0)),
    "reading a key": Call("keyctl", (11, SESSION_KEYRING, bytes(64), 64)),
    "new keys": Call("add_key", (b"user", b"wherry-test", b"x", 1, -1)),  # to the thread's own keyring
    "asking for keys": Call("request_key", (b"user", b"wherry-none", 0, 0)),
    "programs in the kernel": Call("bpf", (0, b"", 0)),
    "faults handled by a process": Call("userfaultfd", (0,)),
    "rings of requests": Call("io_uring_setup", (0, bytes(120))),
    "counters": Call("perf_event_open", (bytes(120), 0, 99, -1, 0)),
    "modules": Call("init_module", (0, 0, b"")),
    "modules by descriptor": Call("finit_module", (-1, b"", 0)),
    "removal of modules": Call("delete_module", (b"wherry_none", 0x800)),
    "another kernel": Call("kexec_load", (0, 99, 0, 0)),
    "another kernel by descriptor": Call("kexec_file_load", (-1, -1, 0, b"", 0)),
    "the kernel's log": Call("syslog", (3, bytes(64), -1)),
    "mounts": Call("mount", (b"none", b"/tmp", b"wherry-none", 0, 0)),
    "unmounting": Call("umount2", (b"/wherry-none", 0)),
    "another root": Call("pivot_root", (b"/wherry-none", b"/wherry-none")),
    "mounts by descriptor": Call("fsopen", (b"wherry-none", 0)),
    "copies of mounts": Call("open_tree", (-100, b"/tmp", 1)),
    "moved mounts": Call("move_mount", (-1, b"", -1, b"", 4)),
    "changed mounts": Call("mount_setattr", (-1, b"", 0, bytes(32), 32)),
    "picked file systems": Call("fspick", (-100, b"/wherry-none", 0)),
    "a mount namespace": Call("unshare", (NEWNS,)),
    "a network namespace": Call("unshare", (NEWNET,)),
    "a namespace of others": Call("setns", (-1, 0)),
    "files by handle": Call("open_by_handle_at", (-1, bytes(64), 0)),
    "swap": Call("swapon", (b"/wherry-none", 0)),
    "no swap": Call("swapoff", (b"/wherry-none",)),
    "the end": Call("reboot", (0xFEE1DEAD, 1, 0, 0)),
    "the clock": Call("clock_settime", (99, bytes(16))),
    "the time of day": Call("settimeofday", (b"\xff" * 16, 0)),
    "ports of the machine": Call("iopl", (3,)),
    "one port of the machine": Call("ioperm", (0x80, 1, 1)),
    "accounts of processes": Call("acct", (b"/wherry-none",)),
    "quotas": Call("quotactl", (0x800002 << 8, b"/wherry-none", 0, 0)),
    "what others open": Call("fanotify_init", (0, 0)),
    "sockets to the hypervisor": Call("socket", (40, 1, 0)),
    "another personality": Call("personality", (0x0040000,)),
    "a user namespace": Call("unshare", (NEWUSER,)),  # the last: whoever is in one is permitted less
}
ABSENT = {-errno.ENOSYS}
"""What a kernel answers that was built without an interface; nobody can be harmed by it."""


def refused(daemon: Daemon, image: str, *flags: str) -> dict[str, int]:
    """What each of the calls returned."""
    return dict(zip(SHUT, made(daemon, image, list(SHUT.values()), *flags), strict=True))


def test_what_acts_on_the_whole_machine_is_not_permitted(daemon: Daemon, busybox: str) -> None:
    answers = refused(daemon, busybox)
    open_ones = {what: answer for what, answer in answers.items() if answer not in {-errno.EPERM} | ABSENT}
    assert open_ones == {}


def test_an_exec_is_permitted_no_more(daemon: Daemon, busybox: str) -> None:
    daemon.cli("run", "-d", "--name", "asking", "--network", "none", busybox, "sleep", "1000", check=True)
    try:
        for words in (
            ["unshare", "-m", "true"],
            ["mount", "-t", "tmpfs", "x", "/tmp"],
            ["chroot", "/proc/1/root", "true"],
        ):
            done = daemon.cli("exec", "asking", *words)
            permitted = words[0] == "chroot"  # it is Docker's habit to permit it; the root is the container's own
            assert (done.returncode == 0) == permitted, (words, done.stderr)
    finally:
        daemon.cli("rm", "-f", "asking", check=True)


def test_the_new_clone_is_absent_as_its_flags_cannot_be_looked_at(daemon: Daemon, busybox: str) -> None:
    arguments = NEWUSER.to_bytes(8, "little") + bytes(56)
    old, new = made(daemon, busybox, [Call("clone", (NEWUSER | 17, 0, 0, 0, 0)), Call("clone3", (arguments, 64))])
    assert (old, new) == (-errno.EPERM, -errno.ENOSYS)


def test_capabilities_alone_open_what_they_are_for_and_no_more(daemon: Daemon, busybox: str) -> None:
    answers = refused(daemon, busybox, "--cap-add", "SYS_TIME", "--cap-add", "SYSLOG")
    opened = {what for what, answer in answers.items() if answer not in {-errno.EPERM} | ABSENT}
    assert opened == {"the clock", "the time of day", "the kernel's log"}


def test_each_of_these_calls_would_be_answered_where_it_is_permitted(daemon: Daemon, busybox: str) -> None:
    answers = refused(daemon, busybox, "--privileged")
    assert {what for what, answer in answers.items() if answer == -errno.EPERM} == set()


# ------------------------------------------------------------------------------------------------- files of the kernel

#: What the host's kernel does by itself, or as root of the host, when somebody writes there.
LEVERS = {
    "/proc/sys/kernel/core_pattern": "|/evil",
    "/proc/sys/kernel/modprobe": "/evil",
    "/proc/sys/kernel/hotplug": "/evil",
    "/proc/sys/fs/binfmt_misc/register": ":evil:M::evil::/evil:",
    "/proc/sys/vm/panic_on_oom": "2",
    "/proc/sys/kernel/randomize_va_space": "0",
    "/proc/sysrq-trigger": "h",
    "/proc/irq/default_smp_affinity": "1",
    "/proc/bus/pci/00/00.0": "x",
    "/proc/acpi/alarm": "x",
    "/proc/1/oom_score_adj": "-1000",
    "/proc/self/oom_score_adj": "-1000",
    "/sys/kernel/uevent_helper": "/evil",
    "/sys/kernel/mm/transparent_hugepage/enabled": "never",
    "/sys/module/kernel/parameters/panic": "1",
    "/sys/power/state": "mem",
    "/sys/class/net/lo/mtu": "1000",
    "/sys/fs/cgroup/release_agent": "/evil",
    "/sys/fs/cgroup/memory/release_agent": "/evil",
    "/sys/fs/cgroup/memory/notify_on_release": "1",
    "/sys/fs/cgroup/cgroup.procs": "1",
    "/sys/fs/cgroup/cgroup.subtree_control": "-memory",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes": "-1",
    "/sys/fs/cgroup/memory.max": "max",
    "/sys/fs/cgroup/pids/pids.max": "max",
    "/sys/fs/cgroup/pids.max": "max",
    "/sys/fs/cgroup/devices/devices.allow": "a",
    "/sys/fs/cgroup/cpuset/cpuset.cpus": "0",
    "/sys/firmware/efi/vars": "x",
}


@pytest.mark.parametrize("flags", [(), ("--cap-add", "DAC_READ_SEARCH"), ("--user", "1000"), ("--init",)])
def test_no_lever_of_the_kernels_can_be_moved(daemon: Daemon, busybox: str, flags: tuple[str, ...]) -> None:
    before = {path: _text(path) for path in LEVERS}
    steps = [f"(echo '{value}' >{path}) 2>/dev/null && echo {path}" for path, value in LEVERS.items()]
    done = daemon.cli("run", "--rm", "--network", "none", *flags, busybox, "sh", "-c", "; ".join([*steps, "true"]))
    assert done.stdout.split() == [], done.stderr
    assert {path: _text(path) for path in LEVERS} == before


def _text(path: str) -> str:
    try:
        return Path(path).read_text() if path.startswith("/proc/sys/") else ""
    except OSError:
        return ""


def test_no_path_through_proc_leads_around_the_read_only_mounts(daemon: Daemon, busybox: str) -> None:
    pattern = _text("/proc/sys/kernel/core_pattern")
    script = (
        "for way in /proc/1/root /proc/self/root /proc/self/cwd /proc/thread-self/root /proc/1/task/1/root; do "
        "(echo '|/evil' >$way/proc/sys/kernel/core_pattern) && echo through $way; done; "
        "mkdir /tmp/p; mount -t proc proc /tmp/p && echo mounted; "
        "mount -o remount,rw /proc/sys && echo remounted; umount /proc/sys && echo unmounted; "
        "mount -o bind /proc /tmp/p && echo bound; unshare -m true && echo apart; unshare -r true && echo above; true"
    )
    done = daemon.cli("run", "--rm", "--network", "none", busybox, "sh", "-c", script, check=True)
    assert done.stdout == ""
    assert _text("/proc/sys/kernel/core_pattern") == pattern


def test_secrets_of_the_kernels_cannot_be_read(daemon: Daemon, busybox: str) -> None:
    hidden = "kcore keys key-users timer_list latency_stats sched_debug scsi acpi kallsyms kmsg vmallocinfo interrupts"
    script = (
        f"for name in {hidden}; do n=$(dd if=/proc/$name bs=64 count=1 2>/dev/null | wc -c); echo $name $n; done; "
        "for d in /sys/firmware /proc/acpi /proc/scsi /sys/devices/virtual/powercap; do "
        "test -d $d && echo $d $(ls $d | wc -l); done; true"
    )
    done = daemon.cli("run", "--rm", "--network", "none", busybox, "sh", "-c", script, check=True)
    readable = {line.split()[0] for line in done.stdout.splitlines() if not line.endswith(" 0")}
    # kallsyms shows zeros for addresses to who lacks CAP_SYSLOG; the other is a count that everybody may know
    assert readable <= {"kallsyms", "key-users", "interrupts", "vmallocinfo"}
    zeros = daemon.cli("run", "--rm", "--network", "none", busybox, "head", "-c", "16", "/proc/kallsyms")
    assert zeros.stdout in ("", "0" * 16) or zeros.returncode
