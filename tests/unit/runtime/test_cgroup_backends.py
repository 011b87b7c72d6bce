"""Both cgroup backends on a file system in memory: the common contract, and what each does in which order."""

from __future__ import annotations

import inspect
import subprocess
import sys
import time

import pytest

from support.cgroup_conformance import Child, Conformance, child, limited  # noqa: F401  a fixture
from support.fake_cgroups import V2_FILES, FakeFiles
from wherry.errors import InvalidInput, Unsupported
from wherry.linux.proc import read_stat
from wherry.runtime import cgroups
from wherry.runtime.cgroups import Cgroup, Resources, removal
from wherry.runtime.cgroups.directory import Directory, Files, KernelFiles


class FakeGround:
    """See :class:`cgroup_conformance.Ground`."""

    def __init__(self, version: int) -> None:
        self.files = FakeFiles(version)

    def group(self, name: str) -> Cgroup:
        return cgroups.bind(f"/wherry/{name}", self.files.hierarchies(), self.files)

    def value(self, group: Cgroup, v1: tuple[str, str], v2: str) -> str:
        path = f"{group.paths()[v1[0]]}/{v1[1]}" if group.version == 1 else f"{group.paths()['']}/{v2}"
        return self.files.read(path).strip()


@pytest.fixture(params=[1, 2], ids=["v1", "v2"])
def ground(request: pytest.FixtureRequest) -> FakeGround:
    return FakeGround(request.param)


class TestContract(Conformance):
    """The common contract."""


def test_groups_nested_deeper_than_python_recurses_are_walked_through() -> None:
    class Deep(KernelFiles):
        def children(self, path: str) -> list[str]:
            return [] if path.endswith("/e") or path.count("/d") == 2000 else ["d", "e"]

    found = [one.path for one in Directory(Deep(), "/cg").descendants()]
    assert len(found) == 2 * 2000
    places = {path: number for number, path in enumerate(found)}
    assert all(places[path] < places.get(path.rpartition("/")[0], len(found)) for path in found)


def test_the_fake_is_complete() -> None:
    wanted = {name for name, _ in inspect.getmembers(Files) if not name.startswith("_")}
    assert wanted <= set(dir(FakeFiles))
    assert wanted <= set(dir(KernelFiles))


class TestVersion1:
    @pytest.fixture
    def ground(self) -> FakeGround:
        return FakeGround(1)

    def test_parents_pass_their_processors_on(self, ground: FakeGround) -> None:
        ground.group("a").create(Resources())
        done = ground.files.done
        assert ("write", "/cg/cpuset/wherry/cpuset.cpus", "0-3") in done
        assert ("write", "/cg/cpuset/wherry/cgroup.clone_children", "1") in done
        assert not [entry for entry in done if entry[0] == "write" and "/wherry/a/" in entry[1]]

    def test_a_second_one_costs_one_step_per_hierarchy(self, ground: FakeGround) -> None:
        ground.group("a").create(Resources())
        ground.files.done.clear()
        ground.group("b").create(Resources())
        assert ground.files.done == [("make", f"/cg/{name}/wherry/b") for name in ground.files.hierarchies().v1]

    def test_devices_are_denied_before_some_are_allowed(self, ground: FakeGround) -> None:
        group = ground.group("a")
        rules = [
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rw"},
        ]
        group.create(limited(devices=rules))  # type: ignore[arg-type]
        writes = [(path.rpartition("/")[2], value) for kind, path, *rest in ground.files.done for value in rest]
        assert writes[-2:] == [("devices.deny", "a"), ("devices.allow", "c 1:3 rw")]

    def test_a_device_list_in_use_is_changed_without_a_gap(self, ground: FakeGround) -> None:
        def rules(*allowed: tuple[int, str]) -> Resources:
            entries = [{"allow": True, "type": "c", "major": 1, "minor": m, "access": a} for m, a in allowed]
            return limited(devices=[{"allow": False, "access": "rwm"}, *entries])  # type: ignore[arg-type]

        group = ground.group("a")
        group.create(rules((3, "rwm"), (5, "r"), (7, "w")))
        ground.files.done.clear()
        group.apply(rules((3, "r"), (5, "rw"), (9, "r")))
        assert ("write", "/cg/devices/wherry/a/devices.deny", "a") not in ground.files.done
        listed = ground.files.read("/cg/devices/wherry/a/devices.list").splitlines()
        assert sorted(listed) == ["c 1:3 r", "c 1:5 rw", "c 1:9 r"]

    def test_a_privileged_one_allows_all(self, ground: FakeGround) -> None:
        group = ground.group("a")
        group.create(limited(devices=[{"allow": True, "access": "rwm"}]))  # type: ignore[arg-type]
        assert ground.files.read("/cg/devices/wherry/a/devices.list").strip() == "a *:* rwm"

    def test_files_of_version_2_are_refused(self, ground: FakeGround) -> None:
        with pytest.raises(InvalidInput, match="need cgroup version 2"):
            ground.group("a").create(limited(unified={"memory.high": "1"}))

    def test_a_missing_controller_matters_only_when_it_is_needed(self, ground: FakeGround) -> None:
        found = ground.files.hierarchies()
        mounts = {name: path for name, path in found.v1.items() if name not in ("pids", "devices", "freezer")}
        group = cgroups.bind("/wherry/a", found._replace(v1=mounts), ground.files)
        group.create(Resources())
        with pytest.raises(Unsupported, match="'pids'"):
            group.apply(limited(pids={"limit": 1}))
        with pytest.raises(Unsupported, match="'freezer'"):
            group.freeze()

    def test_controllers_that_are_mounted_together_share_a_directory(self, ground: FakeGround) -> None:
        found = ground.files.hierarchies()
        group = cgroups.bind("/x", found._replace(v1=found.v1 | {"cpuacct": "/cg/cpu"}), ground.files)
        group.create(Resources())
        assert [entry for entry in ground.files.done if "cpu/" in entry[1] and entry[0] == "make"] == [
            ("make", "/cg/cpu/x")
        ]

    def test_swap_is_left_alone_where_it_is_not_accounted(self, ground: FakeGround) -> None:
        group = ground.group("a")
        group.create(Resources())
        del ground.files._values["/cg/memory/wherry/a/memory.memsw.limit_in_bytes"]
        group.apply(limited(memory={"swappiness": 10, "swap": 1 << 30}))


class TestVersion2:
    @pytest.fixture
    def ground(self) -> FakeGround:
        return FakeGround(2)

    def test_weights_of_block_io_go_where_the_kernel_has_them(
        self, ground: FakeGround, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Which of two files that is cannot be seen before the directory is there."""
        monkeypatch.setitem(V2_FILES, "io", {**V2_FILES["io"], "io.bfq.weight": "default 100"})
        group = ground.group("a")
        group.create(limited(blockIO={"weight": 321}))
        assert ("write", f"{group.paths()['']}/io.bfq.weight", "321") in ground.files.done

    def test_controllers_are_handed_down_to_the_parent_of_the_cgroup(self, ground: FakeGround) -> None:
        ground.group("a").create(Resources())
        writes = [entry[1:] for entry in ground.files.done if entry[0] == "write"]
        assert writes == [
            ("/cg/v2/cgroup.subtree_control", "+cpuset +cpu +io +memory +pids"),
            ("/cg/v2/wherry/cgroup.subtree_control", "+cpuset +cpu +io +memory +pids"),
        ]

    def test_a_second_one_costs_one_step(self, ground: FakeGround) -> None:
        ground.group("a").create(Resources())
        ground.files.done.clear()
        ground.group("b").create(Resources())
        assert ground.files.done == [("make", "/cg/v2/wherry/b")]

    def test_a_controller_that_refuses_does_not_keep_the_others_back(self, ground: FakeGround) -> None:
        ground.files._values["/cg/v2/cgroup.controllers"] = "cpu memory"
        ground.files._values["/cg/v2/cgroup.subtree_control"] = "memory"
        ground.group("a").create(Resources())
        assert ground.files.read("/cg/v2/wherry/cgroup.subtree_control").split() == ["cpu", "memory"]

    def test_any_file_can_be_written_through_unified(self, ground: FakeGround) -> None:
        group = ground.group("a")
        group.create(limited(unified={"memory.low": "4096"}))
        assert ground.files.read(f"{group.paths()['']}/memory.low").strip() == "4096"
        with pytest.raises(Unsupported, match=r"'misc' .* not available"):
            group.apply(limited(unified={"misc.max": "1"}))
        with pytest.raises(InvalidInput, match="no name of a cgroup file"):
            group.apply(limited(unified={"../memory.max": "1"}))

    def test_a_process_joins_below_when_the_container_handed_its_controllers_on(
        self,
        ground: FakeGround,
        child: Child,  # noqa: F811
    ) -> None:
        group, below = ground.group("a"), ground.group("a/init.scope")
        below.create(Resources())
        below.add(child.pid)
        with subprocess.Popen(["sleep", "600"]) as second:
            group.add(second.pid)
            assert below.pids() == sorted([child.pid, second.pid])
            second.kill()

    def test_the_root_of_a_namespace_is_cleared_of_processes_first(self, ground: FakeGround, child: Child) -> None:  # noqa: F811
        files = ground.files
        files._values["/cg/v2/cgroup.type"] = "domain"
        files.write("/cg/v2/cgroup.procs", [str(child.pid)])
        real = files._check

        def check(path: str, value: str) -> None:
            if path == "/cg/v2/cgroup.subtree_control" and files._members("/cg/v2"):
                raise OSError(16, "busy")
            real(path, value)

        files._check = check  # type: ignore[method-assign]
        ground.group("a").create(limited(pids={"limit": 5}))
        assert files._members("/cg/v2/init") == {child.pid}


#: Has two children, and does not let them end (ptrace(2), PTRACE_O_TRACEEXIT).
TRACER = """
import ctypes, os, time
children = []
while len(children) < 2 and 0 not in children:
    children.append(os.fork())
if 0 not in children:
    assert not any(ctypes.CDLL(None).ptrace(0x4206, child, None, ctypes.c_void_p(0x40)) for child in children)
    print(*children, flush=True)
while True:
    time.sleep(1000)
"""


def test_all_get_the_signal_before_any_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "_BATCH", 2)
    with subprocess.Popen([sys.executable, "-c", TRACER], stdout=subprocess.PIPE, text=True) as tracer:
        assert tracer.stdout is not None
        everybody = [*map(int, tracer.stdout.readline().split()), tracer.pid]
        assert len(everybody) == 3, "ptrace(2) is not allowed here"

        def alive() -> list[int]:
            states = {pid: read_stat(pid) for pid in everybody}
            return [pid for pid, stat in states.items() if stat is not None and stat.state not in "ZX"]

        try:
            removal.kill(alive, lambda: None, time.monotonic() + 60, "/x")
            assert alive() == []
        finally:
            tracer.kill()


@pytest.mark.parametrize("path", ["", "/", "relative", "/a/../../b", "/..", "/a\0b"])
def test_a_path_that_leads_astray_is_refused(path: str) -> None:
    files = FakeFiles(2)
    with pytest.raises(InvalidInput, match="cgroup path"):
        cgroups.bind(path, files.hierarchies(), files)


def test_a_path_is_normalised() -> None:
    files = FakeFiles(2)
    assert cgroups.bind("/a//b/./c/", files.hierarchies(), files).path == "/a/b/c"
