"""Parts of the specification that few use: joined mount namespaces, propagation of the root, labels, processors."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from support.needs import need
from support.runtime_harness import ORDINARY_NAMESPACES, Box
from wherry.linux.lsm import has_apparmor, has_selinux
from wherry.oci.runtime_spec import (
    CPUAffinity,
    IDMapping,
    Linux,
    MemoryPolicy,
    Mount,
    Namespace,
    Process,
    Root,
    Spec,
    User,
)

pytestmark = need("root", "busybox", "overlay", "namespaces")


PID = (("pid", "pid"),)


def joining(box: Box, pid: int, command: str, *, root: str = "/", kinds: tuple[tuple[str, str], ...] = ()) -> Spec:
    """A specification of a container in another's mount namespace, and in more of its namespaces."""
    joined: tuple[Any, ...] = (("mount", "mnt"), *kinds)
    return Spec(
        root=Root(path=root),
        process=Process(cwd="/", args=("/bin/sh", "-c", command), env=("PATH=/bin",)),
        linux=Linux(
            namespaces=tuple(Namespace(type=word, path=f"/proc/{pid}/ns/{kind}") for word, kind in joined),
            cgroups_path=box.cgroup,
        ),
    )


def test_a_mount_namespace_is_joined_with_all_that_is_mounted_there(box: Box, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/file").write_text("here\n")
    bind = Mount(destination="/data", type="bind", source=str(tmp_path / "source"), options=("rbind",))
    with box.running("exec sleep 100", mounts=(bind,)) as first:
        wanted = ["here", os.readlink(f"/proc/{first.pid}/ns/mnt"), "joined"]
        command = "cat /data/file; readlink /proc/self/ns/mnt; test $$ != 1 && echo joined"
        assert box.run_spec(joining(box, first.pid, command, kinds=PID)).lines == wanted


def test_the_root_can_be_a_directory_of_the_joined_namespace(box: Box) -> None:
    box.write("inner/only", "inner\n")
    shutil.copytree(box.layer / "bin", box.layer / "inner/bin", symlinks=True)
    with box.running("exec sleep 100") as first:
        found = box.run_spec(joining(box, first.pid, "cat /only; ls /", root="/inner"))
        assert found.lines == ["inner", "bin", "only"], found


def test_a_mount_namespace_is_joined_together_with_the_user_namespace_that_owns_it(box: Box) -> None:
    ids = (IDMapping(container_id=0, host_id=100_000, size=65536),)
    mapped = {"namespaces": (*ORDINARY_NAMESPACES, Namespace(type="user")), "uid_mappings": ids, "gid_mappings": ids}
    with box.running("exec sleep 100", root=box.overlay("idmap"), linux=mapped) as first:
        kinds = (("user", "user"), *PID)
        found = box.run_spec(joining(box, first.pid, "id -u; cat /proc/self/uid_map", kinds=kinds))
        assert [line.split() for line in found.lines] == [["0"], ["0", "100000", "65536"]], found


@pytest.mark.parametrize("root", ["/nothing", "/etc/passwd", "/proc/self/cwd"])
def test_a_root_that_the_joined_namespace_lacks_is_refused(box: Box, root: str) -> None:
    with box.running("exec sleep 100") as first:
        failure = box.run_spec(joining(box, first.pid, "true", root=root)).failure
    assert failure is not None
    assert (failure.kind, root in failure.text) == ("invalid", True)


@pytest.mark.parametrize(
    ("word", "expected"),
    [("shared", "shared:"), ("rshared", "shared:"), ("slave", ""), ("private", ""), ("unbindable", "unbindable")],
)
def test_the_root_has_the_propagation_that_is_asked_for(box: Box, word: str, expected: str) -> None:
    found = box.run("awk '$5 == \"/\" {print $7}' /proc/self/mountinfo", linux={"rootfs_propagation": word})
    fields = found.out.strip().rstrip("0123456789")
    assert fields.startswith(expected) if expected else fields in ("-", "master:"), found


def test_a_memory_policy_is_in_force(box: Box) -> None:
    policy = MemoryPolicy(mode="MPOL_BIND", flags=("MPOL_F_STATIC_NODES",), nodes="0")
    found = box.run("awk '{print $2; exit}' /proc/self/numa_maps", linux={"memory_policy": policy})
    assert found.out.strip() == "bind=static:0", found


def test_an_exec_begins_and_goes_on_with_the_processors_of_the_specification(box: Box) -> None:
    first_spec = {"exec_cpu_affinity": CPUAffinity(initial="0", final="0")}
    allowed = "awk '/^Cpus_allowed_list/ {print $2}' /proc/self/status"
    before = box.run(allowed).out
    with box.running("exec sleep 100", process=first_spec) as first:
        assert box.exec(first, allowed).out == "0\n"
        assert box.exec(first, allowed, exec_cpu_affinity=CPUAffinity(final=before.strip())).out == before


def test_the_umask_is_the_specifications(box: Box) -> None:
    assert box.run("umask", process={"user": User(umask=0o027)}).out == "0027\n"


@pytest.mark.parametrize("module", ["apparmor", "selinux"])
def test_a_label_that_nobody_would_enforce_is_refused(box: Box, module: str) -> None:
    if (has_apparmor if module == "apparmor" else has_selinux)():
        pytest.skip(f"this kernel has {module}")
    field = "apparmor_profile" if module == "apparmor" else "selinux_label"
    failure = box.run("true", process={field: "some-label"}).failure
    assert failure is not None
    assert (failure.kind, failure.text) == (
        "unsupported",
        f"this kernel has no {module}, so the label 'some-label' cannot be set",
    )
