"""User namespaces: new and joined, with id-mapped layers and binds."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import msgspec

from support.needs import need
from support.runtime_harness import Box
from wherry.oci.runtime_spec import Capabilities, IDMapping, Mount, Namespace, Pids, Resources, User

pytestmark = need("root", "busybox", "overlay", "namespaces")

FIRST = 100_000
MAP = (IDMapping(container_id=0, host_id=FIRST, size=65536),)
KINDS: tuple[Any, ...] = ("mount", "pid", "uts", "ipc", "network", "cgroup", "user")
LINUX = {
    "namespaces": tuple(Namespace(type=kind) for kind in KINDS),
    "uid_mappings": MAP,
    "gid_mappings": MAP,
}


def mapped(box: Box, command: str, **changes: Any) -> Any:
    """Run with a user namespace and id-mapped layers."""
    linux = {**LINUX, **changes.pop("linux", {})}
    return box.run(command, root=box.overlay("idmap"), linux=linux, **changes)


def test_root_inside_is_an_ordinary_user_outside(box: Box) -> None:
    result = mapped(box, "id -u; cat /proc/self/uid_map; readlink /proc/self/ns/user")
    assert result.failure is None
    assert result.lines[0] == "0"
    assert result.lines[1].split() == ["0", str(FIRST), "65536"]
    assert result.lines[2] != os.readlink("/proc/self/ns/user")


def test_the_images_files_belong_to_the_containers_users(box: Box) -> None:
    os.chown(box.layer / "etc/group", 1000, 100)
    result = mapped(box, "stat -c '%u:%g' /etc/passwd /etc/group /proc /sys /dev /dev/null")
    assert result.lines[:2] == ["0:0", "1000:100"]


def test_what_is_written_has_the_containers_numbers_on_the_disk(box: Box) -> None:
    result = mapped(
        box, "touch /mine; touch /anns; chown 1000:100 /anns; echo more >> /etc/passwd; mkdir /d; rm -r /tmp"
    )
    assert (result.status, result.err) == (0, "")
    owners = {name: (box.upper / name).lstat().st_uid for name in ("mine", "anns", "d", "etc/passwd")}
    assert owners == {"mine": 0, "anns": 1000, "d": 0, "etc/passwd": 0}
    assert stat.S_ISCHR((box.upper / "tmp").lstat().st_mode)


def test_a_mapped_container_works_as_any_other(box: Box) -> None:
    result = mapped(
        box,
        "cat /dev/zero | head -c 2 | wc -c; echo x > /dev/null; hostname; ip link show lo | grep -c UP; "
        "echo out > /dev/stdout; mkdir /t && mount -t tmpfs x /t && echo mounted; "
        "ls /sys/fs/cgroup >/dev/null && echo cgroups",
        spec={"hostname": "inner"},
        process={"capabilities": all_capabilities()},
        mounts=(Mount(destination="/sys/fs/cgroup", type="cgroup", source="cgroup", options=("ro",)),),
    )
    assert result.lines == ["2", "inner", "1", "out", "mounted", "cgroups"], result


def all_capabilities() -> Any:
    held = ("CAP_SYS_ADMIN", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_SETUID", "CAP_SETGID")
    return Capabilities(bounding=held, effective=held, permitted=held)


def test_a_user_of_the_container_on_a_terminal(box: Box) -> None:
    result = mapped(box, "id -u; tty", process={"user": User(username="ann"), "terminal": True})
    assert result.out.split() == ["1000", "/dev/pts/0"]


def test_a_bind_without_mapping_shows_foreign_owners(box: Box, tmp_path: Path) -> None:
    source = tmp_path / "closed" / "source"
    source.mkdir(parents=True)
    (source / "roots").touch()
    source.parent.chmod(0o700)  # the container's root could not get here itself
    result = mapped(
        box,
        "stat -c %u /plain/roots /mapped/roots; touch /plain/x; touch /mapped/new",
        mounts=(
            Mount(destination="/plain", type="bind", source=str(source), options=("bind",)),
            Mount(destination="/mapped", type="bind", source=str(source), options=("rbind", "ridmap")),
        ),
    )
    assert result.lines == ["65534", "0"]
    assert "ermission denied" in result.err
    assert (source / "new").stat().st_uid == 0


def test_a_bind_can_be_mapped_without_a_user_namespace(box: Box, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    os.chown(source, 1000, 1000)
    mapping = (IDMapping(container_id=1000, host_id=0, size=1),)
    bind = Mount(
        destination="/data",
        type="bind",
        source=str(source),
        options=("bind", "idmap"),
        uid_mappings=mapping,
        gid_mappings=mapping,
    )
    result = box.run("stat -c %u:%g /data; touch /data/x", mounts=(bind,))
    assert result.out == "0:0\n"
    assert (source / "x").stat().st_uid == 1000


def test_limits_and_exec_with_a_user_namespace(box: Box) -> None:
    linux = {**LINUX, "resources": Resources(pids=Pids(limit=30))}
    with box.running("exec sleep 100", root=box.overlay("idmap"), linux=linux) as running:
        result = box.exec(running, "id -u; cat /etc/group | wc -l; readlink /proc/self/ns/user; touch /made")
        assert result.lines == ["0", "4", os.readlink(f"/proc/{running.pid}/ns/user")]
        assert (box.upper / "made").stat().st_uid == 0
        assert box.exec(running, "tty", terminal=True).out.split() == ["/dev/pts/0"]


def test_an_existing_user_namespace_can_be_joined(box: Box, tmp_path: Path) -> None:
    other = Box(tmp_path / "other")
    with box.running("exec sleep 100", root=box.overlay("idmap"), linux=LINUX) as first:
        kinds = tuple(Namespace(type=kind) for kind in KINDS if kind != "user")
        namespaces = (*kinds, Namespace(type="user", path=f"/proc/{first.pid}/ns/user"))
        linux = {"namespaces": namespaces}
        result = other.run("id -u; readlink /proc/self/ns/user; echo $$", root=other.overlay("idmap"), linux=linux)
        assert result.failure is None, result
        assert result.lines == ["0", os.readlink(f"/proc/{first.pid}/ns/user"), "1"]


def test_a_network_of_the_hosts_can_be_joined_from_a_new_user_namespace(box: Box) -> None:
    with box.running("exec sleep 100") as first:
        kinds = tuple(Namespace(type=kind) for kind in KINDS if kind != "network")
        namespaces = (*kinds, Namespace(type="network", path=f"/proc/{first.pid}/ns/net"))
        spec = box.spec(
            "readlink /proc/self/ns/net", root=box.overlay("idmap"), linux={**LINUX, "namespaces": namespaces}
        )
        # sysfs shows the network namespace's devices, so that only its owner may mount it
        without_sysfs = tuple(mount for mount in spec.mounts if mount.type != "sysfs")
        other = Box(box.directory / "second")
        root = other.overlay("idmap")
        result = other.run_spec(msgspec.structs.replace(spec, mounts=(root, *without_sysfs[1:])))
        assert result.lines == [os.readlink(f"/proc/{first.pid}/ns/net")], result


def test_many_layers_are_mapped(box: Box) -> None:
    options = []
    for number in range(150):
        layer = box.directory / "layers" / str(number)
        layer.mkdir(parents=True)
        (layer / f"file{number}").touch()
        options.append(f"lowerdir+={layer}")
    root = Mount(
        destination="/",
        type="overlay",
        options=(*options, f"lowerdir+={box.layer}", f"upperdir={box.upper}", f"workdir={box.work}", "idmap"),
    )
    result = box.run("ls / | grep -c file; stat -c %u /file0 /file149", root=root, linux=LINUX)
    assert result.lines == ["150", "0", "0"], result


def test_a_broken_layer_is_a_failure_of_the_start(box: Box) -> None:
    root = Mount(destination="/", type="overlay", options=("lowerdir+=/no/such/layer", "idmap"))
    failure = box.run("true", root=root, linux=LINUX).failure
    assert failure is not None
    assert "/no/such/layer" in str(failure.error())
