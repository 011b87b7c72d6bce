"""An exec that was planned before is not planned again; any difference counts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from support.containers import container_of
from wherry.docker.container_requests import ContainerConfig, HostConfig
from wherry.engine.container.container import Container, Definition
from wherry.engine.container.state import State, Status
from wherry.engine.spec import exec_plans
from wherry.engine.spec.exec_plans import ExecPlans
from wherry.errors import Conflict
from wherry.linux.proc import start_time
from wherry.oci.runtime_spec import Capabilities, Linux, Namespace, Process, Spec, User
from wherry.runtime.compile.exec import ContainerState, compile_exec
from wherry.runtime.plan import Plan

CHECK = Process(cwd="/", args=("check", "-q"), env=("PATH=/bin", "A=1"), user=User(username="0"))


def container(pid: int = os.getpid(), started_at: str = "2024-01-01T00:00:01Z", name: str = "c") -> Container:
    definition = Definition(
        id=name * 64, created="2024-01-01T00:00:00Z", image="i", image_id="sha256:1", argv=["x"],
        config=ContainerConfig(), host=HostConfig(), mounts=[], networks={},
    )  # fmt: skip
    state = State(status=Status.RUNNING, pid=pid, started_at=started_at)
    return container_of("web", definition, state, Path("/data/c"), Path("/run/c"))


def specification(*rights: str) -> Spec:
    sets = Capabilities(bounding=rights, effective=rights, permitted=rights)
    namespaces = tuple(Namespace(type=kind) for kind in ("pid", "mount"))
    return Spec(process=Process(cwd="/", args=("x",), capabilities=sets), linux=Linux(namespaces=namespaces))


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    made: list[Plan] = []

    def counting(process: Process, *, state: ContainerState) -> Plan:
        made.append(compile_exec(process, state=state))
        return made[-1]

    monkeypatch.setattr(exec_plans, "compile_exec", counting)
    return made


def test_the_same_exec_has_the_plan_that_was_compiled_once(compiled: list[Plan]) -> None:
    plans, one, spec = ExecPlans(), container(), specification("CAP_CHOWN")
    first = plans.encoded(CHECK, one, spec)
    assert Plan.decode(first) == Plan.decode(compiled[0].encode())
    assert compiled[0].container == (os.getpid(), start_time(os.getpid()))
    assert plans.encoded(replace(CHECK), one, spec) == first
    assert len(compiled) == 1


def test_whatever_differs_is_compiled(compiled: list[Plan]) -> None:
    plans, spec = ExecPlans(), specification("CAP_CHOWN")
    cases = [
        (CHECK, container(), spec),
        (replace(CHECK, args=("check",)), container(), spec),
        (replace(CHECK, env=("PATH=/bin", "A=2")), container(), spec),
        (replace(CHECK, user=User(username="1")), container(), spec),
        (replace(CHECK, capabilities=Capabilities(bounding=("CAP_KILL",))), container(), spec),
        (CHECK, container(name="d"), spec),
        (CHECK, container(os.getppid()), spec),
        (CHECK, container(started_at="2024-01-01T00:00:02Z"), spec),
        (CHECK, container(), specification("CAP_KILL")),
    ]
    for number, (process, one, by) in enumerate(cases, start=1):
        encoded = plans.encoded(process, one, by)
        assert len(compiled) == number
        state = ContainerState(one.id, one.state.pid, start_time(one.state.pid) or 0, by)
        assert Plan.decode(encoded) == Plan.decode(compile_exec(process, state=state).encode())


def test_few_plans_are_kept_and_none_that_is_large(compiled: list[Plan], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exec_plans, "_MOST", 2)
    plans, one, spec = ExecPlans(), container(), specification()
    large = replace(CHECK, args=("x" * (1 << 16),))
    for process in (CHECK, large, large, replace(CHECK, args=("a",)), CHECK, replace(CHECK, args=("b",)), CHECK):
        plans.encoded(process, one, spec)
    assert len(compiled) == 5
    plans.encoded(replace(CHECK, args=("a",)), one, spec)
    assert len(compiled) == 6


def test_a_container_that_has_ended_is_said_to_have() -> None:
    with pytest.raises(Conflict, match="not running"):
        ExecPlans().encoded(CHECK, container(2**22 + 1), specification())
