"""What a container is made of: the facts behind `wherry explain`, and the processes that `top` shows."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from support.containers import container_of
from wherry.docker.container_requests import ContainerConfig, HostConfig
from wherry.docker.explain_answers import RootLayer
from wherry.engine.container.container import Container, Definition
from wherry.engine.container.mount_point import MountPoint
from wherry.engine.container.state import State, Status
from wherry.engine.settings import Settings
from wherry.engine.spec import security
from wherry.engine.views import explain
from wherry.engine.views import top as top_view
from wherry.engine.views.explain import ExplainService
from wherry.engine.views.top import top
from wherry.errors import Conflict, InvalidInput, Unavailable, Unsupported
from wherry.linux import capabilities
from wherry.runtime.cgroups.contract import CpuStatistics, MemoryStatistics, Pids, Statistics

USED = Statistics(
    cpu=CpuStatistics(usage=2_500_000_000), memory=MemoryStatistics(usage=10, limit=100), pids=Pids(current=3, limit=7),
    oom_kills=1,
)  # fmt: skip


def container(root: Path, name: str = "web", pid: int = 0, *, state: State | None = None, **host: Any) -> Container:
    definition = Definition(
        id=name[0] * 64, created="2024-01-01T00:00:00Z", image="app", image_id="sha256:1", argv=["sh"],
        mounts=host.pop("mounts_asked", []), config=ContainerConfig(), host=HostConfig(**host),
    )  # fmt: skip
    state = state or State(status=Status.RUNNING if pid else Status.CREATED, pid=pid)
    return container_of(name, definition, state, root / name, root / "run" / name)


class Containers(list[Container]):
    """In place of the store of containers."""

    def find(self, ref: str) -> Container | None:
        return next((one for one in self if ref in (one.id, one.name)), None)


class FakeImages:
    """Two layers, of which `shared` are a container's own."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def layers_of(self, one: Container) -> list[RootLayer]:
        names = ["top", "base"] if one.name == "web" else ["base"]
        return [RootLayer(chain_id=name, diff_id="", size=1, path="") for name in names]

    def uppers(self, one: Container) -> list[Path]:
        return [self.root / "upper"]


@pytest.fixture(autouse=True)
def cgroup(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The cgroups that were looked at; this process is in each."""
    opened: list[str] = []

    def fake(path: str) -> SimpleNamespace:
        opened.append(path)
        return SimpleNamespace(statistics=lambda: USED, pids=lambda recursive=True: [os.getpid()])

    monkeypatch.setattr(explain.cgroups, "open", fake)
    return opened


def facts(root: Path, one: Container, *others: Container, settings: Settings | None = None) -> dict[str, Any]:
    (root / "upper").mkdir(exist_ok=True)
    containers: Any = Containers([one, *others])
    service = ExplainService(containers, FakeImages(root), settings or Settings())  # type: ignore[arg-type]
    shown: dict[str, Any] = msgspec.to_builtins(service.explain(one, "/group"))
    return shown


# --- explain ----------------------------------------------------------------------------------------------------------


def test_namespaces_say_with_whom_they_are_shared(tmp_path: Path) -> None:
    pid = os.getpid()
    idle = container(tmp_path, "idle")
    shown = facts(tmp_path, container(tmp_path, pid=pid), container(tmp_path, "db", pid), idle)
    kinds = {entry["Kind"]: entry for entry in shown["Namespaces"]}
    assert {"pid", "mnt", "net", "ipc", "uts", "user"} <= kinds.keys()
    assert kinds["net"] == {"Kind": "net", "Inode": os.stat("/proc/self/ns/net").st_ino, "SharedWith": ["host", "db"]}


def test_layers_say_who_else_stands_on_them(tmp_path: Path) -> None:
    layers = facts(tmp_path, container(tmp_path), container(tmp_path, "db"))["Layers"]
    assert [(layer["ChainID"], layer["SharedWith"]) for layer in layers] == [("top", []), ("base", ["db"])]


def test_what_was_written_is_counted_and_the_largest_files_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explain, "_MOST_FILES", 3)
    (tmp_path / "upper" / "var" / "log").mkdir(parents=True)
    for size in (5, 300, 20, 1, 40):
        (tmp_path / "upper" / "var" / "log" / str(size)).write_bytes(bytes(size))
    assert facts(tmp_path, container(tmp_path))["Writable"] == {
        "Path": str(tmp_path / "upper"), "Bytes": 366, "Files": 5,
        "CopiedUp": [{"Path": f"/var/log/{size}", "Bytes": size} for size in (300, 40, 20)],
    }  # fmt: skip


def test_limits_are_those_of_its_cgroup_while_it_runs(tmp_path: Path, cgroup: list[str]) -> None:
    assert facts(tmp_path, container(tmp_path))["Limits"] == []
    assert cgroup == []
    limits = facts(tmp_path, container(tmp_path, pid=os.getpid(), nano_cpus=1_500_000_000))["Limits"]
    assert cgroup == ["/group"]
    found = {entry["Name"]: (entry["Limit"], entry["Used"]) for entry in limits}
    assert found == {
        "memory": (100, 10), "processes": (7, 3), "processors": (1.5, 2.5), "processor shares": (None, 1024),
        "killed for lack of memory": (None, 1),
    }  # fmt: skip


def test_a_shared_network_is_named_by_its_containers_name(tmp_path: Path) -> None:
    db = container(tmp_path, "db")
    assert (
        facts(tmp_path, container(tmp_path, network_mode=f"container:{db.id}"), db)["Network"]["Mode"] == "container:db"
    )
    assert facts(tmp_path, container(tmp_path, network_mode="container:gone"))["Network"]["Mode"] == "container:gone"
    assert facts(tmp_path, container(tmp_path))["Network"]["Mode"] == "none"


def test_capabilities_are_kept_or_dropped_and_the_filter_says_whose_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(security, "_own_capabilities", lambda: [capabilities.text(cap) for cap in capabilities.CAP])
    shown = facts(tmp_path, container(tmp_path, cap_add=["NET_ADMIN"], cap_drop=["CHOWN"]))
    kept, dropped = shown["Capabilities"]["Kept"], shown["Capabilities"]["Dropped"]
    assert "CAP_NET_ADMIN" in kept
    assert "CAP_CHOWN" in dropped
    assert not {*kept} & {*dropped}
    assert (shown["Seccomp"]["Mode"], shown["Seccomp"]["Profile"]) == ("filter", "default")
    assert shown["Seccomp"]["Allowed"] > 100
    off = facts(tmp_path, container(tmp_path, security_opt=["seccomp=unconfined"]))["Seccomp"]
    assert off == {"Mode": "off", "Profile": "unconfined", "Allowed": None}


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (State(), None),
        (State(status=Status.RUNNING, pid=1, exit_code=3), None),  # of an earlier run
        (State(status=Status.EXITED, exit_code=137, oom_killed=True, finished_at="2024-01-01T00:00:00Z"),
         {"Code": 137, "OOMKilled": True, "Error": "", "At": "2024-01-01T00:00:00Z"}),
        (State(error="no such file", exit_code=127),
         {"Code": 127, "OOMKilled": False, "Error": "no such file", "At": State().finished_at}),
    ],
)  # fmt: skip
def test_an_exit_is_shown_when_there_was_one(tmp_path: Path, state: State, expected: dict[str, Any] | None) -> None:
    assert facts(tmp_path, container(tmp_path, state=state))["Exit"] == expected


def test_mounts_are_those_of_its_namespace_with_their_reasons(tmp_path: Path) -> None:
    point = MountPoint(kind="bind", source="/srv/data", target="/")
    mounts = facts(tmp_path, container(tmp_path, pid=os.getpid(), mounts_asked=[point]))["Mounts"]
    found = {entry["Destination"]: entry for entry in mounts}
    assert (found["/"]["Source"], found["/"]["Why"]) == ("/srv/data", "you asked for it")
    assert (found["/proc"]["Type"], found["/proc"]["Why"]) == ("proc", "shows its own processes")
    assert facts(tmp_path, container(tmp_path))["Mounts"] == []


@pytest.mark.parametrize(
    ("target", "why"),
    [("/sys/fs/cgroup/cpu", "its own limits"), ("/proc/kcore", "hidden or read-only"), ("/else", "")],
)
def test_a_mount_that_nobody_asked_for_has_a_reason(target: str, why: str) -> None:
    assert explain._why(target, asked=False).startswith(why)
    assert explain._why(target, asked=True) == "you asked for it"


# --- top --------------------------------------------------------------------------------------------------------------


def fake_ps(root: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = root / "ps"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(top_view.shutil, "which", lambda name: str(program))


async def test_top_shows_the_processes_of_the_cgroup_with_all_of_their_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cgroup: list[str]
) -> None:
    pid = os.getpid()
    rows = f"UID PID CMD\\nroot {pid} sh -c 'a b'\\nroot 1 init\\nbroken\\n"
    fake_ps(tmp_path, monkeypatch, f'printf "{rows}"; echo "$@" > {tmp_path}/args')
    one = container(tmp_path, pid=pid)
    shown = await top(one, "/group", "")
    assert (shown.titles, shown.processes) == (["UID", "PID", "CMD"], [["root", str(pid), "sh -c 'a b'"]])
    assert cgroup == ["/group"]
    assert (tmp_path / "args").read_text() == "-ef\n"
    await top(one, "/group", "-o pid,cmd")
    assert (tmp_path / "args").read_text() == "-o pid,cmd\n"


async def test_top_needs_a_container_that_runs_and_a_column_of_pids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_ps(tmp_path, monkeypatch, 'case "$1" in -x) echo "bad option" >&2; echo usage >&2; exit 1;; esac; echo CMD')
    one = container(tmp_path, pid=os.getpid())
    with pytest.raises(Conflict, match="is not running"):
        await top(container(tmp_path), "/group", "")
    with pytest.raises(InvalidInput, match="Couldn't find PID field in ps output"):
        await top(one, "/group", "")
    with pytest.raises(InvalidInput, match=r"error running ps: bad option$"):
        await top(one, "/group", "-x")
    with pytest.raises(InvalidInput, match="error running ps"):
        await top(one, "/group", "a\0b")


async def test_a_ps_that_is_missing_or_hangs_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = container(tmp_path, pid=os.getpid())
    fake_ps(tmp_path, monkeypatch, "exec sleep 100")
    monkeypatch.setattr(top_view, "_PATIENCE", 0.05)
    children: list[asyncio.subprocess.Process] = []
    begin = asyncio.create_subprocess_exec

    async def noted(*words: str, **pipes: Any) -> asyncio.subprocess.Process:
        children.append(await begin(*words, **pipes))
        return children[0]

    monkeypatch.setattr(top_view.asyncio, "create_subprocess_exec", noted)
    with pytest.raises(Unavailable, match="ps does not end"):
        await top(one, "/group", "")
    await children[0].communicate()
    assert children[0].returncode == -signal.SIGKILL
    monkeypatch.setattr(top_view.shutil, "which", lambda name: None)
    with pytest.raises(Unsupported, match="there is no ps on this host"):
        await top(one, "/group", "")
