"""Rows of containers: what earlier versions wrote is read as ever, and what many have in common is there once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from support.containers import container_of
from wherry.docker.container_requests import ContainerConfig, HostConfig, LogConfig
from wherry.docker.networks import EndpointSettings
from wherry.engine.container.container import Container, Definition
from wherry.engine.container.rows import definition_of, state_of
from wherry.engine.container.state import State, Status


def definition(identifier: str) -> Definition:
    return Definition(
        id=identifier, created="now", image="busybox", image_id="sha256:1", argv=["true"],
        config=ContainerConfig(image="busybox", env=["A=b c"], labels={"a": "b"}, volumes={"/data": None}, user=""),
        host=HostConfig(memory=1 << 20, log_config=LogConfig("local", {}), tmpfs={"/run": ""}), mounts=[],
        networks={"none": EndpointSettings(network_id="1" * 64)},
    )  # fmt: skip


def with_nulls(encoded: bytes) -> bytes:
    """A definition as version 0.1.0 wrote it: every member of both configurations, null where nothing is set."""
    row = msgspec.json.decode(encoded)
    for member, kind in (("config", ContainerConfig), ("host", HostConfig)):
        names = kind.__struct_encode_fields__
        row[member] = {**dict.fromkeys(names), **row[member]}
    return msgspec.json.encode(row)


def test_rows_of_earlier_versions_are_read_and_a_null_in_a_callers_map_stays() -> None:
    made = definition("1" * 64)
    encoded = msgspec.json.encode(made)
    assert len(with_nulls(encoded)) > 2 * len(encoded)
    assert definition_of(with_nulls(encoded)) == definition_of(encoded) == made
    assert msgspec.json.encode(definition_of(with_nulls(encoded))) == encoded
    former = (
        b'{"status":"exited","pid":0,"exit_code":3,"error":"","oom_killed":false,"started_at":"0001-01-01T00:00:00Z",'
        b'"finished_at":"2026-01-01T00:00:00Z","restart_count":0,"stopped_by_hand":false,"health":null}'
    )
    assert state_of(former) == State(status=Status.EXITED, exit_code=3, finished_at="2026-01-01T00:00:00Z")


def test_containers_that_are_alike_share_what_is_alike() -> None:
    one, other = (definition_of(msgspec.json.encode(definition(digit * 64))) for digit in "12")
    assert one.host is other.host
    assert one.image_id is other.image_id
    assert one.networks["none"].network_id is other.networks["none"].network_id
    one.networks["none"] = EndpointSettings()
    assert other.networks["none"].network_id


@pytest.mark.parametrize("wrong", [b"{}", b'{"id":"1"}', b"nonsense"])
def test_what_is_no_definition_is_told(wrong: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        definition_of(wrong)


def test_a_wrong_host_configuration_is_told() -> None:
    row = msgspec.json.decode(msgspec.json.encode(definition("1" * 64)))
    row["host"]["Memory"] = "much"
    with pytest.raises(msgspec.MsgspecError):
        definition_of(msgspec.json.encode(row))


async def test_what_a_container_has_while_it_is_used_is_made_once(tmp_path: Path) -> None:
    one, other = (container_of(name, definition("1" * 64), State(), tmp_path, tmp_path) for name in ("one", "other"))
    for name in ("lock", "etc", "started", "unneeded", "fifos", "endpoints", "exit_waiters", "exec_ids", "log"):
        assert getattr(one, name) is getattr(one, name)
        assert getattr(one, name) is not getattr(other, name)
    assert isinstance(one.lock, asyncio.Lock)
    with pytest.raises(AttributeError):
        one.nothing_like_it  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(AttributeError):
        one.nothing_like_it = 1  # type: ignore[attr-defined]
    assert set(Container.__slots__) > {"lock", "log"}
