"""How containers and the engine are shown in the API: every byte, order of members included."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from support.containers import container_of
from support.engine_harness import until
from wherry.docker import times
from wherry.docker.container_answers import Health, HealthReport, HealthStatus
from wherry.docker.container_requests import ContainerConfig, HostConfig, LogConfig, RestartPolicy
from wherry.docker.image_answers import ImageSummary, ImagesUsage
from wherry.docker.networks import EndpointSettings, PortBinding
from wherry.engine.container.container import Container, Definition
from wherry.engine.container.mount_point import MountPoint
from wherry.engine.container.state import State, Status
from wherry.engine.views import list as listing
from wherry.engine.views import stats, system_df
from wherry.engine.views.inspect import inspect
from wherry.runtime.cgroups.contract import CpuStatistics, IoCount, MemoryStatistics, Pids, Statistics

RECORDED = Path(__file__).parents[2] / "data" / "container_views.json"
IMAGE = "sha256:" + "1" * 64


def container(status: Status, image: str = "busybox", **members: Any) -> Container:
    config = ContainerConfig(
        hostname="inner", labels={"a": "b"}, env=["PATH=/bin"], cmd=["sh", "-c", "a b"], exposed_ports={"80/tcp": {}},
        stop_timeout=members.pop("stop_timeout", None),
    )  # fmt: skip
    host = HostConfig(
        network_mode=members.pop("network_mode", "bridge"), binds=["/src:/dst:ro"], links=members.pop("links", None),
        port_bindings={"80/tcp": [PortBinding(host_port="8080")]}, log_config=LogConfig(type="json-file", config={}),
        restart_policy=members.pop("restart_policy", None), annotations=members.pop("annotations", None),
    )  # fmt: skip
    mounts = [
        MountPoint(kind="bind", source="/src", target="/dst", mode="ro", writable=False),
        MountPoint(kind="tmpfs", target="/tmp", mode="size=1m"),
        MountPoint(kind="tmpfs", target="/run"),
    ]
    definition = Definition(
        id="c" * 64, created="2024-01-01T00:00:00.5Z", image=image, image_id=IMAGE, argv=["sh", "-c", "a b", ""],
        config=config, host=host, mounts=mounts, networks={"bridge": EndpointSettings()},
    )  # fmt: skip
    alive = status in (Status.RUNNING, Status.PAUSED)
    state = State(
        status=status, pid=4711 if alive else 0, started_at="2024-01-01T00:00:01Z", restart_count=2,
        finished_at=times.ZERO_TIME if alive else "2024-01-01T00:00:02Z", exit_code=0 if alive else 137,
        error="" if alive else "no such thing", health=members.pop("health", None),
    )  # fmt: skip
    one = container_of("web", definition, state, Path("/data/c"), Path("/run/c"))
    for name, value in members.items():
        setattr(one, name, value)
    return one


SICK = Health(
    status=HealthStatus.UNHEALTHY, failing_streak=3, log=[HealthReport(start="s", end="e", exit_code=1, output="o")]
)
CONTAINERS: dict[str, Callable[[], Container]] = {
    "created": lambda: container(Status.CREATED),
    "running": lambda: container(Status.RUNNING, health=SICK, exec_ids=["e"], annotations={"x": "y"}),
    "starting": lambda: container(Status.RUNNING, health=Health()),
    "paused": lambda: container(Status.PAUSED, network_mode="host", stop_timeout=0),
    "exited": lambda: container(Status.EXITED, IMAGE[7:19], restart_policy=RestartPolicy(name="always")),
    "restarting": lambda: container(Status.RESTARTING, "gone:1", links=["d:store", "lost:x"]),
    "dead": lambda: container(Status.DEAD),
    "removing": lambda: container(Status.REMOVING),
}
COUNTED = Statistics(
    cpu=CpuStatistics(usage=9, user=5, system=4, per_cpu=(4, 5), periods=3, throttled_periods=2, throttled_time=1),
    memory=MemoryStatistics(usage=100, limit=1000, maximum=200, failures=1, details={"cache": 7}),
    pids=Pids(current=3, limit=10),
    io_bytes=(IoCount(8, 0, "Read", 4096),),
    io_operations=(IoCount(8, 0, "Read", 1),),
)


def names_of(image: str) -> list[str]:
    return ["busybox:latest"] if image == IMAGE else []


def find(ref: str) -> Any:
    return SimpleNamespace(name="db") if ref == "d" else None


def everything(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(times, "now", lambda: "2024-01-02T00:00:00Z")
    monkeypatch.setattr(listing.time, "time_ns", lambda: times.from_rfc3339("2024-01-01T03:00:00Z"))
    monkeypatch.setattr(stats, "_processors", lambda: (12345, 2))
    monkeypatch.setattr(stats, "_interfaces", lambda pid: {"eth0": stats._interface(list(range(16)))})
    monkeypatch.setattr(stats.cgroups, "open", lambda path: SimpleNamespace(statistics=lambda: COUNTED))
    service = listing.ListService([], lambda name: "", names_of)
    shown: dict[str, Any] = {}
    summaries = []
    for name, make in CONTAINERS.items():
        one = make()
        shown[f"inspect: {name}"] = inspect(one, names_of, find, None)
        (shown[f"listed: {name}"],) = service.summaries([one], {one.id: ["/web", "/other/web"]}, {})
        shown[f"stats: {name}"] = stats.sample(one, "/c")
        summaries += service.summaries([one], {}, {one.id: (10, 110)})
    shown["inspect: with sizes"] = inspect(one, names_of, find, (10, 110))
    shown["listed: with sizes"] = summaries[0]
    shown["disk usage"] = system_df.disk_usage(IMAGES, summaries)
    return shown


IMAGES = ImagesUsage(
    layers_size=300,
    blobs_size=50,
    images=[
        ImageSummary(
            id=f"sha256:{users}", repo_tags=[], repo_digests=[], created=1, size=size, virtual_size=size,
            shared_size=30, labels=None, containers=users,
        )
        for users, size in ((0, 100), (2, 200))
    ],
)  # fmt: skip


@pytest.mark.parametrize("name", json.loads(RECORDED.read_text()))
def test_what_is_shown_is_what_was_recorded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = json.loads(RECORDED.read_text())[name]
    assert msgspec.json.encode(everything(monkeypatch)[name]) == msgspec.json.encode(recorded)


def test_nothing_is_shown_that_was_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(everything(monkeypatch)) == list(json.loads(RECORDED.read_text()))


async def test_files_of_a_container_that_is_asked_about_again_stay_open_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used, closed = [], []

    class Kept(stats.KeptFiles):
        def close(self) -> None:
            closed.append(self)

    def statistics_with(_path: str, files: Kept | None = None) -> Any:
        used.append(files)
        return SimpleNamespace(statistics=lambda: COUNTED)

    monkeypatch.setattr(stats, "KeptFiles", Kept)
    monkeypatch.setattr(stats.cgroups, "open", statistics_with)
    monkeypatch.setattr(stats, "_interfaces", lambda pid: {})
    monkeypatch.setattr(stats, "_IDLE", 0.01)
    monkeypatch.setattr(stats, "_MOST", 1)
    sampler, one, other = stats.Sampler(), CONTAINERS["running"](), CONTAINERS["paused"]()
    other.definition = msgspec.structs.replace(other.definition, id="d" * 64)
    for each in (one, one, other, CONTAINERS["exited"]()):
        sampler.sample(each, "/c")
    assert used == [used[0], used[0], None], "the same again, and of no more containers than that"
    await until(lambda: closed)
    assert closed == used[:1]
    sampler.sample(other, "/c")
    sampler.close()
    assert closed == [used[0], used[3]]
