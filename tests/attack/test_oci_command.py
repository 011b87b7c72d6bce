"""Hostile bundles and containers against ``wherry-oci``: what runc's CVEs did, by ``run``, ``create`` and ``exec``."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.needs import need
from support.oci_command import Bundles, bundles_in
from support.oci_launcher import snapshot_of
from support.processes import wait_for

pytestmark = need("root", "busybox")

PTRACE = ["CAP_SYS_PTRACE", "CAP_KILL", "CAP_DAC_OVERRIDE", "CAP_SETUID", "CAP_SETGID"]
CORE_PATTERN = Path("/proc/sys/kernel/core_pattern")


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command as a process of it begins when it has been called before; `test_lifecycle` has the other way."""
    return snapshot_of(tmp_path_factory.mktemp("snapshot"))


@pytest.fixture
def oci(tmp_path: Path, command: list[str]) -> Iterator[Bundles]:
    """Bundles, and the command."""
    with bundles_in(tmp_path, command) as bundles:
        yield bundles


def by_run(oci: Bundles, name: str) -> subprocess.CompletedProcess[str]:
    """``run``: its exit code and output."""
    return oci("run", "--bundle", str(oci.directory / name), name)


def by_create(oci: Bundles, name: str) -> subprocess.CompletedProcess[str]:
    """``create`` and ``start``, and the end of the container; the exit code is of what failed."""
    out = oci.directory / f"{name}.out"
    with out.open("wb") as file:
        made = subprocess.run(
            [*oci.command, "create", "--bundle", str(oci.directory / name), name],
            stdin=subprocess.DEVNULL, stdout=file, stderr=file, check=False,
        )  # fmt: skip
    if made.returncode == 0:
        oci.do("start", name)
        oci.becomes(name, "stopped")
        oci.do("delete", name)
    return subprocess.CompletedProcess([], made.returncode, out.read_text(), out.read_text())


WAYS = pytest.mark.parametrize("way", [by_run, by_create])
Way = Callable[[Bundles, str], "subprocess.CompletedProcess[str]"]


def mounted_on_the_host(oci: Bundles) -> list[str]:
    """What is mounted below the bundles, as the host sees it."""
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(oci.directory) in line]


def mounts(*more: dict[str, Any]) -> dict[str, Any]:
    """The ordinary mounts, and others after them."""
    ordinary = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"]},
    ]
    return {"mounts": [*ordinary, *more], "root": {"path": "rootfs"}}


# ------------------------------------------------------------------- /proc/<pid>/exe of who enters: 2019-5736


@WAYS
def test_a_program_that_names_the_runtimes_own_is_not_executed(oci: Bundles, way: Way) -> None:
    oci.bundle("one", "/proc/self/exe", "-c", "print('the interpreter')")
    done = way(oci, "one")
    assert done.returncode != 0
    assert "permission denied" in done.stderr
    assert "the interpreter" not in done.stdout
    assert oci.left() == []


def test_an_exec_of_the_runtimes_own_program_is_refused_by_links_too(oci: Bundles) -> None:
    bundle = oci.bundle("one", "sleep", "100")
    (bundle / "rootfs/bin/link").symlink_to("/proc/self/exe")
    oci.create("one", start=True)
    for args in (["/proc/self/exe"], ["/bin/link"], ["link"], ["/proc/thread-self/exe"]):
        done = oci("exec", "one", *args, "-c", "print('the interpreter')")
        assert (done.returncode, done.stdout) == (255, "")


def test_an_interpreter_of_a_script_is_never_the_runtimes_own(oci: Bundles) -> None:
    bundle = oci.bundle("one", "/bin/script")
    (bundle / "rootfs/bin/script").write_text("#!/proc/self/exe\nprint('the interpreter')\n")
    (bundle / "rootfs/bin/script").chmod(0o755)
    pid = oci.create("one", start=True)
    exe = os.readlink(f"/proc/{pid}/exe")
    assert exe.startswith("/memfd:"), exe  # sealed: it executes itself for ever, in its own control group
    oci.do("kill", "one", "KILL")
    oci.becomes("one", "stopped")
    assert oci.output("one") == ""


def test_a_container_that_may_trace_sees_nothing_of_an_exec_but_its_program(oci: Bundles) -> None:
    watch = (
        "while :; do for p in /proc/[0-9]*; do n=${p#/proc/}; [ $n = 1 ] || [ $n = $$ ] || "
        "echo $(readlink $p/exe) $(tr '\\0' ' ' <$p/environ) $(readlink $p/root) $(readlink $p/cwd) "
        "$(readlink $p/fd/3); "
        "done 2>/dev/null; done"
    )
    capabilities = dict.fromkeys(("bounding", "effective", "permitted", "inheritable"), PTRACE)
    oci.bundle("one", "sh", "-c", watch, capabilities=capabilities)
    oci.create("one", start=True)
    for _ in range(6):
        oci.do("exec", "--cwd", "/bin", "one", "true")
    oci.do("kill", "one", "KILL")
    seen = oci.output("one")
    assert os.path.basename(os.path.realpath(sys.executable)) not in seen
    assert str(oci.directory) not in seen
    assert "HOME=/root/host" not in seen


# -------------------------------- /proc that is not /proc: 2019-16884, 2019-19921, 2023-27561, 2023-28642, 2025-52881


@WAYS
@pytest.mark.parametrize("place", ["/proc", "/proc/self/attr", "/proc/sys/kernel", "/proc/../proc/sys"])
def test_nothing_is_mounted_in_place_of_proc(oci: Bundles, way: Way, place: str) -> None:
    fake = oci.directory / "fake"
    fake.mkdir()
    bind = {"destination": place, "type": "bind", "source": str(fake), "options": ["rbind"]}
    oci.bundle("one", "true", whole=mounts(bind))
    done = way(oci, "one")
    assert done.returncode == 1
    assert "because it is inside /proc" in done.stderr or "because it is not procfs" in done.stderr


@WAYS
@pytest.mark.parametrize("target", ["/evil", "../../../../evil", "/bin/../evil"])
def test_a_proc_that_is_a_link_leads_nowhere_outside_and_loses_no_mask(oci: Bundles, way: Way, target: str) -> None:
    bundle = oci.bundle("one", "sh", "-c", "cat /proc/keys /evil/keys; echo x >/proc/sys/kernel/domainname; echo done")
    (bundle / "rootfs/evil").mkdir()
    (bundle / "rootfs/proc").symlink_to(target)
    done = way(oci, "one")
    assert mounted_on_the_host(oci) == []
    assert not Path("/evil").exists()
    if done.returncode == 0:
        assert done.stdout.count("done") == 1
        assert "keyring" not in done.stdout


@WAYS
def test_a_sysctl_is_never_written_to_what_only_looks_like_proc(oci: Bundles, way: Way) -> None:
    bundle = oci.bundle("one", "true", whole={**mounts(), "linux": {"sysctl": {"kernel.domainname": "x"}}})
    spec = json.loads((bundle / "config.json").read_text())
    spec["mounts"] = [mount for mount in spec["mounts"] if mount["destination"] != "/proc"]
    oci.write(bundle, spec)
    fake = bundle / "rootfs/proc/sys/kernel"
    fake.mkdir(parents=True)
    (fake / "domainname").write_text("untouched")
    way(oci, "one")
    assert (fake / "domainname").read_text() == "untouched"


# ---------------------------- links where something is mounted or made: 2021-30465, 2024-45310, 2025-31133, 2025-52565


@WAYS
@pytest.mark.parametrize("kind", ["bind", "tmpfs", "file"])
def test_a_mount_point_behind_a_link_is_in_the_root_and_makes_nothing_on_the_host(
    oci: Bundles, way: Way, kind: str
) -> None:
    outside, source = oci.directory / "outside", oci.directory / "source"
    outside.mkdir()
    source.mkdir() if kind != "file" else source.write_text("")
    place = {"destination": "/vol/deep/place", "source": str(source), "type": "bind", "options": ["rbind"]}
    if kind == "tmpfs":
        place = {"destination": "/vol/deep/place", "source": "tmpfs", "type": "tmpfs"}
    bundle = oci.bundle("one", "sh", "-c", "mount", whole=mounts(place))
    (bundle / "rootfs/vol").symlink_to(outside)
    way(oci, "one")
    assert os.listdir(outside) == []
    assert mounted_on_the_host(oci) == []


@WAYS
def test_masks_do_not_use_what_the_image_calls_dev_null(oci: Bundles, way: Way) -> None:
    fake = oci.directory / "dev"
    fake.mkdir()
    (fake / "null").symlink_to("/proc/sys/kernel/core_pattern")
    own_dev = {"destination": "/dev", "type": "bind", "source": str(fake), "options": ["rbind"]}
    whole = {
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}, own_dev],
        "root": {"path": "rootfs"},
    }
    script = "cat /proc/keys; echo '|evil' >/proc/keys; echo '|evil' >/dev/null; cat /proc/kcore; echo done"
    oci.bundle("one", "sh", "-c", script, whole=whole)
    before = CORE_PATTERN.read_text()
    done = way(oci, "one")
    assert CORE_PATTERN.read_text() == before
    assert "keyring" not in done.stdout
    assert before not in done.stdout


def test_a_console_is_not_bound_to_what_a_link_names(oci: Bundles) -> None:
    before = CORE_PATTERN.read_text()
    for number, name in enumerate(("console", "ptmx", "pts")):
        bundle = oci.bundle(f"c{number}", "sh", "-c", "echo '|evil' >/dev/console; tty", terminal=True, whole=mounts())
        spec = json.loads((bundle / "config.json").read_text())
        fake = bundle / "dev"
        fake.mkdir()
        (fake / name).symlink_to("/proc/sys/kernel/core_pattern")
        spec["mounts"][1] = {"destination": "/dev", "type": "bind", "source": str(fake), "options": ["rbind"]}
        oci.write(bundle, spec)
        oci("run", "--bundle", str(bundle), f"c{number}")
        assert CORE_PATTERN.read_text() == before
        assert sorted(os.listdir(fake)) in (
            [name],
            sorted([name, "pts"]),
            sorted([name, "console"]),
            ["console", "ptmx", "pts"],
        )


# ---------------------------------------------------------------------------------- leaked descriptors: 2024-21626


@WAYS
@pytest.mark.parametrize("number", [3, 4, 5, 7, 9])
def test_no_descriptor_leads_out_as_a_working_directory(oci: Bundles, way: Way, number: int) -> None:
    oci.bundle("one", "sh", "-c", "pwd; ls ../../../..", cwd=f"/proc/self/fd/{number}")
    done = way(oci, "one")
    assert done.returncode != 0
    assert oci.left() == []


def test_no_descriptor_leads_out_of_an_exec(oci: Bundles) -> None:
    oci.bundle("one", "sleep", "100")
    oci.create("one", start=True)
    for number in range(3, 12):
        done = oci("exec", "--cwd", f"/proc/self/fd/{number}", "one", "sh", "-c", "pwd; ls ../../..")
        assert (done.returncode, done.stdout) == (255, ""), number
    assert (
        oci.do("exec", "one", "sh", "-c", "ls -l /proc/self/fd | wc -l") == "5\n"
    )  # a heading, streams, and what ls reads


# ------------------------------------------------------------------------ rights: 2022-29162, 2023-25809


def test_no_capability_is_inheritable_unless_that_was_asked_for(oci: Bundles) -> None:
    bundle = oci.bundle("one", "sh", "-c", "grep CapInh /proc/self/status; sleep 100")
    assert bundle.exists()
    oci.create("one", start=True)
    wait_for(lambda: oci.output("one"))
    assert oci.output("one").split()[1] == "0" * 16
    said = oci.do("exec", "--cap", "CAP_SYS_ADMIN", "one", "grep", "Cap", "/proc/self/status")
    found = dict(line.split(":\t") for line in said.splitlines())
    assert (found["CapInh"], found["CapAmb"]) == ("0" * 16, "0" * 16)
    assert int(found["CapEff"], 16) & 1 << 21


@WAYS
def test_control_groups_of_others_cannot_be_written(oci: Bundles, way: Way) -> None:
    groups = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro", "nosuid"]}
    sysfs = {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]}
    script = "for g in /sys/fs/cgroup /sys/fs/cgroup/*; do mkdir $g/evil 2>/dev/null && echo made $g; done; echo done"
    oci.bundle("one", "sh", "-c", script, whole=mounts(sysfs, groups))
    assert way(oci, "one").stdout == "done\n"


# ----------------------------------------------------------------------------------------------- bundles and roots


@pytest.mark.parametrize("root", ["missing", "file", "/nowhere", ""])
def test_a_bundle_without_a_root_makes_nothing(oci: Bundles, root: str) -> None:
    bundle = oci.bundle("one", "true", whole={"root": {"path": root}})
    (bundle / "file").write_text("")
    assert by_run(oci, "one").returncode == 1
    assert oci.left() == []


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a\nb", "é", "x" * 300, "-"])
def test_a_name_that_is_no_name_is_refused(oci: Bundles, name: str) -> None:
    bundle = oci.bundle("one", "true")
    done = oci("run", "--bundle", str(bundle), "--", name)
    assert (done.returncode, done.stdout) == ((0, "") if name == "-" else (1, ""))
    assert "state" not in done.stderr


def test_a_configuration_that_is_a_fifo_or_endless_holds_nobody_up(oci: Bundles) -> None:
    bundle = oci.bundle("one", "true")
    (bundle / "config.json").unlink()
    os.mkfifo(bundle / "config.json")
    assert by_run(oci, "one").returncode == 1
    (bundle / "config.json").unlink()
    (bundle / "config.json").symlink_to("/dev/zero")
    assert by_run(oci, "one").returncode == 1


# -------------------------------------------------------------------------------------------- sockets, hooks, deaths


def test_a_console_socket_that_never_answers_ends_the_creation(oci: Bundles) -> None:
    bundle = oci.bundle("one", "true", terminal=True)
    path = oci.directory / "s"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(str(path))
        listener.listen(0)
        first.connect(str(path))
        done = oci("create", "--bundle", str(bundle), "--console-socket", str(path), "one")
    assert (done.returncode, "it does not answer" in done.stderr) == (1, True)
    assert oci.left() == []


def hook(script: str, **more: Any) -> list[dict[str, Any]]:
    """A hook that runs a shell script of the host's."""
    return [{"path": "/bin/sh", "args": ["sh", "-c", script], **more}]


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer"])
def test_a_hook_that_fails_or_hangs_ends_the_creation_and_poststop_is_run(oci: Bundles, kind: str) -> None:
    after = oci.directory / "after"
    for script, why in (
        ("echo gone wrong; exit 3", "exit status 3: gone wrong"),
        ("sleep 100 & sleep 100", "1 seconds"),
    ):
        hooks = {kind: hook(script, timeout=1), "poststop": hook(f"cat >{after}")}
        oci.bundle("one", "true", whole={"hooks": hooks})
        done = by_create(oci, "one")
        assert (done.returncode, why in done.stderr) == (1, True), done.stderr
        assert json.loads(after.read_text())["status"] == "stopped"
        after.unlink()
        assert oci.left() == []


def test_a_start_hook_that_fails_ends_the_container(oci: Bundles) -> None:
    for kind, script in (("startContainer", "exit 4"), ("poststart", "exit 4")):
        oci.bundle(kind, "sleep", "100", whole={"hooks": {kind: hook(script)}})
        oci.create(kind)
        assert "exit status 4" in oci("start", kind).stderr
        oci.becomes(kind, "stopped")
        oci.do("delete", kind)


def test_a_hook_that_leaves_something_behind_holds_nobody_up(oci: Bundles) -> None:
    pids = oci.directory / "pids"
    hooks = {kind: hook(f"sleep 100 & echo $! >>{pids}") for kind in ("prestart", "poststart", "poststop")}
    oci.bundle("one", "true", whole={"hooks": hooks})
    done = by_create(oci, "one")
    left = [int(line) for line in pids.read_text().split()]
    for pid in left:
        os.kill(pid, 9)
    assert (done.returncode, len(left)) == (0, 3)


def test_a_hook_that_is_spoken_to_and_does_not_listen_holds_nobody_up(oci: Bundles) -> None:
    whole = {"hooks": {"prestart": hook("exec <&-; exit 0")}, "annotations": {"a": "x" * 300_000}}
    oci.bundle("one", "true", whole=whole)
    assert by_run(oci, "one").returncode == 0


@WAYS
def test_a_hook_is_not_seen_by_those_whose_pid_namespace_is_joined(oci: Bundles, way: Way) -> None:
    oci.bundle("one", "sleep", "100")
    others = {"type": "pid", "path": f"/proc/{oci.create('one', start=True)}/ns/pid"}
    mine = [{"type": kind} for kind in ("mount", "ipc", "uts", "network")]
    seen = oci.directory / "seen"
    inside = hook(f"readlink /proc/self/ns/pid /proc/self/ns/uts >{seen}")
    whole = {**mounts(), "linux": {"namespaces": [*mine, others]}, "hooks": {"createContainer": inside}}
    oci.bundle("two", "readlink", "/proc/self/ns/pid", whole=whole)
    done = way(oci, "two")
    assert done.stdout.strip() == os.readlink(others["path"]), done
    pids, uts = seen.read_text().split()
    assert (pids, uts != os.readlink("/proc/self/ns/uts")) == (os.readlink("/proc/self/ns/pid"), True)


@WAYS
def test_what_a_hook_has_left_behind_is_not_in_the_container(oci: Bundles, way: Way) -> None:
    behind = hook("sleep 100 & (sleep 100 &) &")
    oci.bundle("one", "sh", "-c", "echo /proc/[0-9]*", whole={**mounts(), "hooks": {"createContainer": behind}})
    assert way(oci, "one").stdout == "/proc/1\n"


def test_start_hooks_see_the_container_and_its_state_and_nothing_of_the_hosts(oci: Bundles) -> None:
    script = "cat >/seen; ls /proc/self/fd >>/seen; readlink /proc/1/exe >>/seen || echo refused >>/seen"
    bundle = oci.bundle("one", "sleep", "100", whole={**mounts(), "hooks": {"startContainer": hook(script)}})
    oci.create("one", start=True)
    state, _, rest = (bundle / "rootfs/seen").read_text().rpartition("}")
    assert json.loads(state + "}")["pid"] == 1
    assert rest.split() == ["0", "1", "2", "3", "refused"]  # 3 is what ls reads


def test_two_starts_and_two_deletes_at_once_do_it_once(oci: Bundles) -> None:
    for number in range(3):
        name = f"c{number}"
        oci.bundle(name, "sleep", "100")
        oci.create(name)
        for verb, flags, message in (("start", (), "already running"), ("delete", ("--force",), "")):
            both = [
                subprocess.Popen([*oci.command, verb, *flags, name], stderr=subprocess.PIPE, text=True) for _ in "ab"
            ]
            said = [one.communicate()[1] for one in both]
            codes = sorted(one.returncode for one in both)
            assert codes == ([0, 1] if verb == "start" else [0, 0]), said
            assert message in "".join(said)


def test_what_a_killed_creation_left_is_no_container_and_is_deleted(oci: Bundles) -> None:
    oci.root.mkdir()
    for name, record in (("empty", None), ("half", b"\xa9"), ("junk", b"junk" * 100), ("none", b"")):
        directory = oci.root / name
        directory.mkdir()
        if record is not None:
            (directory / "record").write_bytes(record)
        assert oci("state", name).returncode == 1
        assert oci("start", name).returncode == 1
        assert oci("kill", name, "KILL").returncode == 1
        assert oci.do("list", "-q") == ""
        assert oci("delete", "--force", name).returncode == 0
        assert not directory.exists()


def test_a_creation_that_is_killed_leaves_no_process(oci: Bundles) -> None:
    waiting = oci.directory / "waiting"
    os.mkfifo(waiting)
    oci.bundle("one", "sleep", "100", whole={"hooks": {"prestart": hook(f"echo >{waiting}; sleep 100")}})
    creating = subprocess.Popen(
        [*oci.command, "create", "--bundle", str(oci.directory / "one"), "one"], stderr=subprocess.DEVNULL
    )
    waiting.read_text()
    state = oci.state("one")
    assert state["status"] == "creating"
    creating.kill()
    creating.wait()
    oci.becomes("one", "stopped")
    oci.do("delete", "--force", "one")
    assert oci.left() == []


def test_a_record_of_another_boot_names_nobodys_process(oci: Bundles) -> None:
    oci.bundle("one", "sleep", "100")
    oci.create("one", start=True)
    record = oci.root / "one/record"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip().encode()
    record.write_bytes(record.read_bytes().replace(boot, b"0" * len(boot)))
    assert oci.state("one")["status"] == "stopped"
    assert "container not running" in oci("kill", "one", "KILL").stderr
    record.write_bytes(record.read_bytes().replace(b"0" * len(boot), boot))
    assert oci.state("one")["status"] == "running"
