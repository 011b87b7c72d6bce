"""Golden files: what a create request becomes, as a container's definition and as a runtime specification.

The bodies are what Docker's client sends (``data/create_bodies.json``), and some that ask for what it hardly ever does
(``data/spec_bodies.json``). ``data/specs.json`` has the whole result of the first body, and of every other one what
differs from it, by member. After a change that is meant to change them, ``WHERRY_GOLDEN=write`` writes it anew; look
at the difference.

No root is needed: what the engine would ask the machine is answered here.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from support.containers import nobody_asked
from wherry.docker.container_requests import ContainerConfig, CreateRequest, HostConfig
from wherry.docker.networks import EndpointSettings
from wherry.engine.container.container import Container, Definition
from wherry.engine.container.database import ContainerDatabase
from wherry.engine.container.mount_point import MountPoint
from wherry.engine.container.state import Status
from wherry.engine.container.store import ContainerStore
from wherry.engine.create import create as creation
from wherry.engine.create import validate
from wherry.engine.create.create import CreateService
from wherry.engine.network.attachments import Resolved
from wherry.engine.network.memberships import resolve
from wherry.engine.settings import Settings, Ulimit
from wherry.engine.spec import build, plan_templates, resources, security
from wherry.engine.spec.build import build_spec
from wherry.engine.spec.context import SpecContext
from wherry.engine.spec.devices import HostDevices
from wherry.engine.spec.plan_templates import PlanTemplates
from wherry.engine.volumes.container_volumes import ContainerVolumes
from wherry.errors import WherryError
from wherry.layers.overlay_paths import OverlayMount
from wherry.oci import runtime_spec
from wherry.oci.platform import Platform
from wherry.oci.runtime_spec import Device, DeviceCgroup
from wherry.runtime import cgroups
from wherry.runtime.compile.spec import compile_spec
from wherry.runtime.plan import Plan

DATA = Path(__file__).parents[2] / "data"
GOLDEN = DATA / "specs.json"
ID = "c0ffee" + "0" * 58
IMAGE = {
    "User": "1000", "Env": ["PATH=/usr/bin:/bin", "LANG=C"], "Cmd": ["sh"], "WorkingDir": "/home",
    "Labels": {"from": "image"}, "ExposedPorts": {"443/tcp": {}}, "StopSignal": "SIGQUIT",
    "Volumes": {"/image/volume": {}},
    "Healthcheck": {"Test": ["CMD", "true"], "Interval": 1000000000, "Retries": 5},
}  # fmt: skip
SETTINGS = Settings(
    data_root=Path("/data-root"), exec_root=Path("/exec-root"), ulimits=(Ulimit("nproc", 100, 200),), cgroup_parent="x"
)


class Image:
    id = "sha256:" + "1" * 64
    config = IMAGE
    platform = Platform.parse("linux/amd64")
    built_in = False

    def overlay(self, _: Path) -> list[OverlayMount]:
        return []


class NetworksByName:
    """As with no networks but the predefined ones; a network that is not there is looked for at the start."""

    def resolve(self, config: ContainerConfig, host: HostConfig, asked: dict[str, EndpointSettings | None]) -> Resolved:
        return Resolved(*resolve(config, host, asked, "bridge"), [])


class VolumesByTarget(ContainerVolumes):
    """All volumes exist; those that nobody names are called after their targets."""

    def __init__(self) -> None:
        pass

    @asynccontextmanager
    async def provided(
        self, identifier: str, points: Sequence[MountPoint], root: Sequence[OverlayMount]
    ) -> AsyncIterator[list[MountPoint]]:
        yield [
            replace(one, name=one.name or f"at{one.target}", source="/volumes/v/_data") if one.kind == "volume" else one
            for one in points
        ]


@contextmanager
def claimed(name: str) -> Iterator[Image]:
    yield Image()


def everything() -> cgroups.Features:
    return cgroups.Features(**dict.fromkeys(cgroups.Features._fields, True))


@pytest.fixture(autouse=True)
def one_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked of the machine has the same answer on all of them."""
    named = SimpleNamespace(sysname="Linux", nodename="machine", release="6.1.0", version="", machine="x86_64")
    monkeypatch.setattr(os, "uname", lambda: named)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(security, "_own_capabilities", lambda: ALL_CAPABILITIES)
    monkeypatch.setattr(build, "_has_sysctl", lambda name: True)
    monkeypatch.setattr(resources, "_numbers", lambda path: resources._Numbers(8, 0))
    monkeypatch.setattr(validate, "_online", lambda path: "0-7")
    monkeypatch.setattr(creation, "is_version_1", lambda: False)
    monkeypatch.setattr(creation, "new_id", lambda: ID)
    monkeypatch.setattr(cgroups, "features", everything)


ALL_CAPABILITIES = (*security.DEFAULT_CAPABILITIES, "CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_SYS_TIME", "CAP_SYS_PTRACE")


@pytest.fixture
def containers(tmp_path: Path) -> Iterator[ContainerStore]:
    database = ContainerDatabase(tmp_path / "wherry.db")
    containers = ContainerStore(database, Path("/data-root"), Path("/exec-root"), nobody_asked)
    for name in ("web", "foo"):
        one = containers.add(containers.reserve_name(name), other(name))
        one.state.status, one.state.pid = Status.RUNNING, 77
    yield containers
    database.close()


class LayersOfNobody:
    """In place of `wherry.engine.create.writable_layers.WritableLayers`: nothing has a limit, and nothing is made."""

    def resolved(self, host: HostConfig) -> HostConfig:
        return host

    def prepare(self, container: Container) -> None:
        """It has no directory."""


def outcome(body: dict[str, Any], containers: ContainerStore) -> dict[str, Any]:
    """What becomes of a request: the definition, the warnings and the specification, or the error."""
    try:
        return made(containers, msgspec.convert(body, CreateRequest))
    except WherryError as error:
        return {"error": f"{type(error).__name__}: {error}"}


def other(name: str) -> Definition:
    return Definition(
        id=hashlib.sha256(name.encode()).hexdigest(), created="", image="i", image_id="i", argv=["x"], mounts=[],
        config=ContainerConfig(hostname=f"host-of-{name}"), host=HostConfig(ipc_mode="shareable"),
    )  # fmt: skip


def made(containers: ContainerStore, request: CreateRequest) -> dict[str, Any]:
    container, warnings = created(containers, request)
    return {
        "definition": msgspec.to_builtins(container.definition),
        "warnings": warnings,
        "spec": shortened(json.loads(runtime_spec.encode(specification(container, containers)))),
    }


def created(containers: ContainerStore, request: CreateRequest) -> tuple[Container, list[str]]:
    networks: Any = NetworksByName()
    layers: Any = LayersOfNobody()
    creator = CreateService(
        SETTINGS, containers, claimed, layers, networks, for_platform=as_named, volumes=VolumesByTarget()
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(creation.directories, "make_data_directories", lambda container: None)
        patch.setattr(creation.times, "now", lambda: "2026-01-01T00:00:00Z")
        container, warnings = asyncio.run(creator.create("made", request, None))
    containers.forget(container)
    return container, warnings


async def as_named(name: str, platform: Platform | None) -> str:
    """An image for one platform."""
    return name


def specification(container: Container, containers: ContainerStore, network: str = "/proc/1/fd/9") -> runtime_spec.Spec:
    devices = HostDevices()
    if container.host.devices:
        node = Device(path="/dev/n", type="c", major=1, minor=3, file_mode=0o666)
        devices = HostDevices((node,), (DeviceCgroup(allow=True, access="r", type="c", major=1, minor=3),))
    overlay = [OverlayMount("/", ("/layers/2", "/layers/1"), "/upper", "/work")]
    find = containers.get
    context = SpecContext(SETTINGS, overlay, lambda kind, ref: find(ref), network, devices, "/proc/1/fd/8")
    return build_spec(container, context)


def shortened(spec: dict[str, Any]) -> dict[str, Any]:
    """The default profile has hundreds of lines, and tests of its own: its digest is enough here."""
    seccomp = spec["linux"].get("seccomp")
    if seccomp and len(seccomp.get("syscalls", ())) > 5:
        text = json.dumps(seccomp, sort_keys=True).encode()
        spec["linux"]["seccomp"] = {"sha256": hashlib.sha256(text).hexdigest()}
    return spec


def bodies() -> dict[str, dict[str, Any]]:
    """Whole bodies by title."""
    recorded = json.loads((DATA / "create_bodies.json").read_text().replace("{cwd}", "/cwd"))
    cases = [{"title": " ".join(case["argv"]), **case} for case in recorded["cases"]]
    cases += json.loads((DATA / "spec_bodies.json").read_text())
    base = recorded["base"]
    return {
        case["title"]: {**base, **case["body"], "HostConfig": {**base["HostConfig"], **case["host_config"]}}
        for case in cases
    }


def members(value: dict[str, Any], depth: int = 3) -> dict[str, Any]:
    """The members of nested objects by dotted names, down to a depth."""
    found: dict[str, Any] = {}
    for name, member in value.items():
        if isinstance(member, dict) and member and depth > 1:
            found.update({f"{name}.{rest}": leaf for rest, leaf in members(member, depth - 1).items()})
        else:
            found[name] = member
    return found


def difference(base: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    if "error" in value:
        return value
    before, after = members(base), members(value)
    changed = {name: leaf for name, leaf in after.items() if before.get(name, ...) != leaf}
    gone = [name for name in before if name not in after]
    return {**changed, **({"": gone} if gone else {})}


BODIES = bodies()


def test_a_create_request_becomes_the_same_container_as_ever(containers: ContainerStore) -> None:
    found: dict[str, Any] = {}
    for title, body in BODIES.items():
        result = outcome(body, containers)
        found[title] = difference(found["busybox"], result) if found else result
    if os.environ.get("WHERRY_GOLDEN") == "write":
        lines = [f" {json.dumps(title)}: {json.dumps(part, ensure_ascii=False)}" for title, part in found.items()]
        GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    golden = json.loads(GOLDEN.read_text())
    found = json.loads(json.dumps(found))
    assert list(found) == list(golden)
    for title, part in found.items():
        assert part == golden[title], title


def test_few_of_the_bodies_are_refused() -> None:
    refused = [title for title, part in json.loads(GOLDEN.read_text()).items() if "error" in part]
    assert len(refused) < len(BODIES) / 8


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The IDs of containers whose plans were not filled in."""
    found: list[str] = []

    def counting(spec: runtime_spec.Spec, *, container_id: str) -> Plan:
        found.append(container_id)
        return compile_spec(spec, container_id=container_id)

    monkeypatch.setattr(plan_templates, "compile_spec", counting)
    return found


def test_a_plan_that_was_filled_in_is_the_one_that_is_compiled(
    containers: ContainerStore, compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    templates, filled = PlanTemplates(), 0
    for title, body in BODIES.items():
        for identifier, network in ((ID, "/proc/1/fd/9"), ("beefed" + "1" * 58, "/proc/1/fd/8"), (ID, "/proc/1/fd/10")):
            monkeypatch.setattr(creation, "new_id", lambda identifier=identifier: identifier)
            try:
                container, _ = created(containers, msgspec.convert(body, CreateRequest))
                spec = specification(container, containers, network)
                expected = list(compile_spec(spec, container_id=identifier).describe())
            except WherryError:
                continue
            compiled.clear()
            found = Plan.decode(templates.encoded(spec, identifier, network))
            assert found == Plan.decode(compile_spec(spec, container_id=identifier).encode()), title
            assert list(found.describe()) == expected
            filled += not compiled
    assert filled > len(BODIES) / 2


def test_what_depends_on_whose_namespace_it_is_is_compiled_each_time(
    containers: ContainerStore, compiled: list[str]
) -> None:
    templates = PlanTemplates()
    body = {**BODIES["busybox"], "HostConfig": {"NetworkMode": "container:web"}}
    for _ in range(2):
        container, _ = created(containers, msgspec.convert(body, CreateRequest))
        templates.encoded(specification(container, containers), container.id, None)
    assert len(compiled) == 2
