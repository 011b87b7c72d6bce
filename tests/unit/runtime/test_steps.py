"""Steps on a fake of the kernel's mount calls: which mounts, in which order, with which flags."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import fake_mounts
from support.fake_mounts import FakeMounts, Seen
from support.mount_conformance import CASES, CLOSED, PROC, Case, bind, bound, carry_out, lay_out, tmpfs
from wherry.errors import InvalidInput, SystemCallError, SystemFault
from wherry.linux import mount
from wherry.linux.mount import MOUNT_ATTR, MS
from wherry.oci.runtime_spec import Linux, Mount, Namespace, Process, Root, Spec
from wherry.runtime.compile.spec import compile_spec
from wherry.runtime.steps import cgroup_mounts, overlay
from wherry.runtime.steps.cgroup_mounts import Hierarchy, MountCgroups
from wherry.runtime.steps.devices import DeviceLinks, DeviceNode, Devices
from wherry.runtime.steps.masks import MaskPaths, ReadOnlyPaths
from wherry.runtime.steps.mounts import Bind, FileSystem, OwnDirectory, ReadOnlyMount
from wherry.runtime.steps.overlay import Overlay
from wherry.runtime.steps.rootfs import BindRoot, PivotRoot, ReadOnlyRoot, RootPropagation, SeparateHost
from wherry.runtime.steps.step import Context

CHARACTER = 0o020000
MADE_BY = "system_call.<locals>"
MOUNTING = (SeparateHost, Overlay, BindRoot, FileSystem, Bind, OwnDirectory, MountCgroups, Devices, DeviceLinks)
CLOSING = (MaskPaths, ReadOnlyPaths, ReadOnlyMount, ReadOnlyRoot)


@pytest.fixture(autouse=True)
def where_it_was() -> Iterator[None]:
    """Some steps leave the working directory elsewhere, and the mask for new files at 0."""
    former, mask = os.getcwd(), os.umask(0)
    yield
    os.chdir(former)
    os.umask(mask)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    lay_out(tmp_path)
    (tmp_path / "image/proc/sys").mkdir()
    (tmp_path / "image/proc/fs").mkdir()
    (tmp_path / "image/proc/kcore").touch()
    (tmp_path / "image/proc/version").touch()
    return tmp_path


@pytest.fixture
def kernel(base: Path, monkeypatch: pytest.MonkeyPatch) -> FakeMounts:
    (base / "mounts").mkdir()
    kernel = FakeMounts(base / "mounts", base / "image")
    kernel.install(monkeypatch)
    monkeypatch.setattr(overlay, "has_overlay_lowerdir_append", lambda: True)
    return kernel


def test_the_fake_answers_every_call_that_the_real_module_makes() -> None:
    declared = {name for name, value in vars(mount).items() if getattr(value, "__qualname__", "").startswith(MADE_BY)}
    assert declared == {f"_{name}" for name in fake_mounts.CALLS}


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_mounts_are_those_of_the_kernel(case: Case, base: Path, kernel: FakeMounts) -> None:
    carry_out(case.steps(base))
    assert kernel.table() == sorted(case.mounts)


# ------------------------------------------------------------------------------------------------------- call by call


def test_an_overlay_is_given_its_layers_one_by_one_and_attached_last(base: Path, kernel: FakeMounts) -> None:
    options = (("xino", "off"), ("userxattr", None))
    carry_out([Overlay("/", f"{base}/rootfs", ("/l/1", "/l/2"), "/u", "/w\\", options, int(MOUNT_ATTR.NODEV))])
    assert kernel.calls == [
        "fsopen overlay",
        "fsconfig source=overlay",
        "fsconfig lowerdir+=/l/1",
        "fsconfig lowerdir+=/l/2",
        "fsconfig upperdir=/u",
        "fsconfig workdir=/w\\\\",
        "fsconfig xino=off",
        "fsconfig userxattr",
        "fsconfig create",
        "fsmount overlay nodev",
        "move_mount overlay /",
    ]


def test_before_linux_6_7_an_overlay_is_one_call_with_relative_names(
    base: Path, kernel: FakeMounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overlay, "has_overlay_lowerdir_append", lambda: False)
    layers = (f"{base}/image/etc", f"{base}/image/seed")
    carry_out([Overlay("/", f"{base}/rootfs", layers, f"{base}/upper", f"{base}/work", (), 0)])
    (call,) = kernel.calls
    assert call.endswith(f" overlay overlay lowerdir=etc:seed,upperdir={base}/upper,workdir={base}/work")


def test_what_needs_no_more_than_mount_2_is_one_call(base: Path, kernel: FakeMounts) -> None:
    (base / "image/shm").mkdir()
    (base / "image/shm").chmod(0o700)
    carry_out([bound(base), tmpfs("/shm", CLOSED, ("size", "64k")), tmpfs("/new", 0, ("size", "1m"))])
    assert kernel.calls[2:] == [
        "mount /shm tmpfs tmpfs NOSUID|NODEV|NOEXEC size=64k,mode=700",  # the image's directory says which mode
        "mount /new tmpfs tmpfs size=1m",
    ]


def test_one_call_that_fails_is_done_again_by_descriptor(base: Path, kernel: FakeMounts) -> None:
    kernel.refused["mount"] = errno.EINVAL
    carry_out([bound(base), tmpfs("/t", CLOSED, ("size", "1m"))])
    assert kernel.calls[2:] == [
        "mount refused",
        "fsopen tmpfs",
        "fsconfig source=tmpfs",
        "fsconfig size=1m",
        "fsconfig create",
        "fsmount tmpfs nosuid,nodev,noexec",
        "move_mount tmpfs /t",
    ]


def test_a_tmpfs_that_begins_with_the_images_files_is_filled_before_anybody_sees_it(
    base: Path, kernel: FakeMounts
) -> None:
    carry_out([bound(base), tmpfs("/seed", 0, copy_up=True)])
    tree = kernel.trees[-1]
    assert (tree.where, (tree.content / "file").read_text()) == ("/seed", "here\n")
    copied = next(index for index, call in enumerate(kernel.calls) if call.startswith("chown"))
    assert copied < kernel.calls.index("move_mount tmpfs /seed")


def test_a_bind_has_its_attributes_before_it_is_attached(base: Path, kernel: FakeMounts) -> None:
    below = int(MOUNT_ATTR.RDONLY)
    step = Bind(f"{base}/data", "/data", True, CLOSED, 0, below, 0, (int(MS.SLAVE | MS.REC),), None, False)
    carry_out([bound(base), step])
    assert kernel.calls[2:] == [
        f"open_tree {base}/data recursive",
        "mount_setattr detached host +ro recursive",
        "mount_setattr detached host +nosuid,nodev,noexec",
        "move_mount host /data",
        "mount_setattr /data SLAVE recursive",
    ]


def test_a_missing_source_is_the_requests_fault_and_mounts_nothing(base: Path, kernel: FakeMounts) -> None:
    with pytest.raises(InvalidInput, match="bind source path does not exist: /nowhere/at/all"):
        carry_out([bound(base), bind("/nowhere/at/all", "/data")])
    assert [seen.where for seen in kernel.table()] == ["/"]


def test_a_link_of_the_image_does_not_lead_a_mount_out_of_the_root(base: Path, kernel: FakeMounts) -> None:
    (base / "image/data").symlink_to("../../../../../../etc")
    carry_out([bound(base), bind(f"{base}/data", "/data")])
    assert kernel.calls[-1] == "move_mount host /etc"


def test_proc_is_not_mounted_where_a_link_leads(base: Path, kernel: FakeMounts) -> None:
    (base / "image/link").symlink_to("etc")
    with pytest.raises(InvalidInput, match="must be an ordinary directory"):
        carry_out([bound(base), PROC._replace(destination="/link")])
    assert "move_mount proc /etc" not in kernel.calls


def test_only_a_procfs_is_bound_on_proc(base: Path, kernel: FakeMounts) -> None:
    with pytest.raises(InvalidInput, match="because it is not procfs"):
        carry_out([bound(base), bind(f"{base}/data", "/proc")])


def test_what_is_masked_is_opened_by_descriptor_and_covered_by_copies_of_one_mount(
    base: Path, kernel: FakeMounts
) -> None:
    (base / "image/proc/keys").touch()
    paths = ("/proc/kcore", "/proc/keys", "/proc/fs", "/proc/sys", "/proc/missing")
    carry_out([bound(base), PROC, MaskPaths(tuple((path, True) for path in paths))])
    assert kernel.calls[-15:] == [
        "open_tree /dev/null",
        "mount_setattr detached host +ro,nosuid,noexec",
        "move_mount host /proc/kcore",
        "open_tree /proc/kcore",
        "move_mount host /proc/keys",
        "fsopen tmpfs",
        *("fsconfig source=tmpfs", "fsconfig mode=0555", "fsconfig nr_blocks=1", "fsconfig nr_inodes=1"),
        "fsconfig create",
        "fsmount tmpfs ro,nosuid,nodev,noexec",
        "move_mount tmpfs /proc/fs",
        "open_tree /proc/fs",
        "move_mount tmpfs /proc/sys",
    ]


def test_a_path_of_proc_that_is_not_on_procfs_is_not_masked(base: Path, kernel: FakeMounts) -> None:
    with pytest.raises(SystemFault, match="is not on procfs"):
        carry_out([bound(base), MaskPaths((("/proc/kcore", True),))])
    assert len(kernel.trees) == 1


def test_devices_are_nodes_with_their_owners_and_links(base: Path, kernel: FakeMounts) -> None:
    nodes = (
        DeviceNode("/dev/null", CHARACTER, os.makedev(1, 3), 0o666, 0, 0),
        DeviceNode("/dev/net/tun", CHARACTER, os.makedev(10, 200), 0o600, 3, 4),
    )
    carry_out([bound(base), tmpfs("/dev", int(MOUNT_ATTR.NOSUID), ("mode", "755")), Devices(nodes), DeviceLinks()])
    assert kernel.calls[2:] == [
        "mount /dev tmpfs tmpfs NOSUID mode=755",
        "mknod /dev/null 20666 1:3",
        "mknod /dev/net/tun 20600 10:200",
        "chown /dev/net/tun 3:4",
    ]
    assert os.readlink(base / "image/dev/ptmx") == "pts/ptmx"
    assert os.readlink(base / "image/dev/stdout") == "/proc/self/fd/1"


def test_a_node_that_may_not_be_made_is_bound_from_the_host(
    base: Path, kernel: FakeMounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EPERM, "")

    monkeypatch.setattr(os, "mknod", refuse)
    carry_out([bound(base), Devices((DeviceNode("/dev/null", CHARACTER, os.makedev(1, 3), 0o666, 0, 0),))])
    assert kernel.calls[2:] == ["open_tree /dev/null", "move_mount host /dev/null"]
    with pytest.raises(InvalidInput, match="is not the device asked for"):
        carry_out([bound(base), Devices((DeviceNode("/dev/null", CHARACTER, os.makedev(1, 5), 0o666, 0, 0),))])


def test_version_1_cgroups_are_bound_one_by_one_on_a_shelf_that_is_closed_last(
    base: Path, kernel: FakeMounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = (Hierarchy("/cg/cpu,cpuacct", 1, ("cpu", "cpuacct")), Hierarchy("/cg/memory", 1, ("memory",)))
    monkeypatch.setattr(cgroup_mounts, "hierarchies", lambda: found)
    monkeypatch.setattr(cgroup_mounts.cgroups, "hierarchies", lambda: type("V1", (), {"version": 1}))
    closed = CLOSED | int(MOUNT_ATTR.RDONLY)
    carry_out([bound(base), MountCgroups("/sys/fs/cgroup", closed, (), "/wherry/c", private=True)])
    assert kernel.calls[-5:] == [
        "fsmount tmpfs nosuid,nodev,noexec",
        "move_mount tmpfs /sys/fs/cgroup",
        "mount /sys/fs/cgroup/cpu,cpuacct /cg/cpu,cpuacct/wherry/c BIND",
        "mount /sys/fs/cgroup/memory /cg/memory/wherry/c BIND",
        "mount_setattr /sys/fs/cgroup +ro,nosuid,nodev,noexec recursive",
    ]
    assert {seen.attributes for seen in kernel.table()[1:]} == {"ro,nosuid,nodev,noexec"}


def test_version_2_cgroups_are_mounted_anew_or_else_bound(
    base: Path, kernel: FakeMounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroup_mounts, "hierarchies", lambda: (Hierarchy(str(base / "data"), 2, ()),))
    monkeypatch.setattr(cgroup_mounts.cgroups, "hierarchies", lambda: type("V2", (), {"version": 2}))
    step = MountCgroups("/sys/fs/cgroup", CLOSED, (), "/wherry/c", private=True)
    carry_out([bound(base), step])
    assert kernel.table()[-1] == Seen("/sys/fs/cgroup", "cgroup2", "nosuid,nodev,noexec")
    kernel.refused["fsmount"] = errno.EPERM
    carry_out([bound(base), step])
    assert kernel.calls[-3:] == [
        f"open_tree {base}/data",
        "mount_setattr detached host +nosuid,nodev,noexec",
        "move_mount host /sys/fs/cgroup",
    ]


# ---------------------------------------------------------------------------------------------------------- the root


def test_the_host_is_separated_first_and_let_go_of_last(base: Path, kernel: FakeMounts) -> None:
    slave = int(MS.SLAVE | MS.REC)
    carry_out([SeparateHost(slave, f"{base}/rootfs"), bound(base), PivotRoot(), RootPropagation(int(MS.SHARED))])
    calls = kernel.calls
    assert calls[0] == "mount / REC|SLAVE"
    assert calls[3] == "pivot_root / ."
    assert calls[4].endswith("REC|SLAVE"), "what was the host's root sends nothing back when it goes"
    assert calls[5] == "umount2 . DETACH"
    assert calls[6] == "mount / SHARED"


def test_a_root_that_cannot_be_exchanged_gets_a_mount_below_it(
    base: Path, kernel: FakeMounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "chroot", lambda path: kernel.calls.append(f"chroot {path}"))
    kernel.refused["pivot_root"] = errno.EINVAL
    with pytest.raises(SystemCallError, match="pivot_root"):
        carry_out([bound(base), PivotRoot()])
    assert kernel.calls[2:] == [
        "pivot_root refused",
        "open_tree / recursive",
        "move_mount host /",
        "chroot .",
        "pivot_root refused",
    ]


def test_a_step_before_the_root_says_that_there_is_none(base: Path, kernel: FakeMounts) -> None:
    with pytest.raises(SystemFault, match="not mounted yet"):
        PROC.apply(Context(-1))
    assert not kernel.calls


def test_the_mounts_of_a_container_as_docker_makes_it(
    base: Path, kernel: FakeMounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroup_mounts, "hierarchies", lambda: (Hierarchy(str(base / "data"), 2, ()),))
    monkeypatch.setattr(cgroup_mounts.cgroups, "hierarchies", lambda: type("V2", (), {"version": 2}))
    layers = (f"lowerdir+={base}/image", f"upperdir={base}/upper", f"workdir={base}/work")
    closed = ("nosuid", "noexec", "nodev")
    spec = Spec(
        root=Root(path=f"{base}/rootfs", readonly=True),
        process=Process(cwd="/", args=("true",)),
        mounts=(
            Mount(destination="/", type="overlay", source="overlay", options=layers),
            Mount(destination="/proc", type="proc", source="proc", options=closed),
            Mount(destination="/dev", type="tmpfs", source="tmpfs", options=("nosuid", "mode=755", "size=65536k")),
            Mount(destination="/dev/pts", type="devpts", source="devpts", options=("nosuid", "noexec", "newinstance")),
            Mount(destination="/sys", type="sysfs", source="sysfs", options=(*closed, "ro")),
            Mount(destination="/sys/fs/cgroup", type="cgroup", source="cgroup", options=(*closed, "ro")),
            Mount(destination="/dev/mqueue", type="mqueue", source="mqueue", options=closed),
            Mount(destination="/etc/hosts", type="bind", source=f"{base}/file", options=("rbind", "rprivate")),
        ),
        linux=Linux(
            namespaces=tuple(Namespace(type=kind) for kind in ("mount", "pid", "cgroup", "ipc", "uts", "network")),
            masked_paths=("/proc/kcore",),
            readonly_paths=("/proc/sys",),
        ),
    )
    found = compile_spec(spec, container_id="abc")
    carry_out(step for step in found.steps if isinstance(step, (*MOUNTING, *CLOSING)))
    assert kernel.table() == [
        Seen("/", "overlay", "ro"),
        Seen("/dev", "tmpfs", "nosuid"),
        Seen("/dev/mqueue", "mqueue", "nosuid,nodev,noexec"),
        Seen("/dev/pts", "devpts", "nosuid,noexec"),
        Seen("/etc/hosts", "host"),
        Seen("/proc", "proc", "nosuid,nodev,noexec"),
        Seen("/proc/kcore", "host", "ro,nosuid,noexec"),
        Seen("/proc/sys", "proc", "ro,nosuid,nodev,noexec"),
        Seen("/sys", "sysfs", "ro,nosuid,nodev,noexec"),
        Seen("/sys/fs/cgroup", "cgroup2", "ro,nosuid,nodev,noexec"),
    ]
    nodes = [call.split()[1:] for call in kernel.calls if call.startswith("mknod")]
    numbers = {"null": "1:3", "zero": "1:5", "full": "1:7", "random": "1:8", "urandom": "1:9", "tty": "5:0"}
    assert nodes == [[f"/dev/{name}", "20666", number] for name, number in numbers.items()]
    assert kernel.calls[-1] == "mount_setattr / +ro"
