"""Detach keys, events and the rules by which an image completes a configuration."""

import asyncio
import re
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.docker.container_requests import ContainerConfig
from wherry.docker.events import Event, EventActor
from wherry.docker.streams import DetachKeys
from wherry.engine.create.image_defaults import command_of, with_image_defaults
from wherry.engine.events import EventBus, matches
from wherry.errors import InvalidInput


def test_the_detach_sequence_is_found_across_reads() -> None:
    keys = DetachKeys("")
    assert keys.filter(b"ls\x10") == (b"ls", False)
    assert keys.filter(b"\x11rest") == (b"", True)


def test_a_sequence_that_is_not_completed_goes_to_the_process() -> None:
    keys = DetachKeys("ctrl-p,ctrl-q")
    assert keys.filter(b"\x10") == (b"", False)
    assert keys.filter(b"x") == (b"\x10x", False)


@given(st.binary(max_size=60).filter(lambda data: b"\x10\x11" not in data), st.integers(0, 60))
def test_input_without_the_sequence_is_passed_on_whole(data: bytes, cut: int) -> None:
    keys = DetachKeys("")
    first, _ = keys.filter(data[:cut])
    second, _ = keys.filter(data[cut:])
    rest, _ = keys.filter(b"x")
    assert first + second + rest == data + b"x"


def test_other_keys_can_be_chosen() -> None:
    assert DetachKeys("ctrl-[,a").filter(b"\x1ba") == (b"", True)
    with pytest.raises(InvalidInput, match=r"Invalid detach keys \(.*ctrl-1.*\) provided"):
        DetachKeys("ctrl-1")


# --- events


def event(**attributes: str) -> Event:
    actor = EventActor("abc", attributes)
    return Event(type="container", action="exec_start: sh", actor=actor, time=1, time_nano=10**9)


@pytest.mark.parametrize(
    ("filters", "passes"),
    [
        ({"type": ["container"]}, True),
        ({"type": ["image"]}, False),
        ({"event": ["exec_start"]}, True),
        ({"event": ["die", "start"]}, False),
        ({"container": ["web"]}, True),
        ({"container": ["ab"]}, True),
        ({"container": ["db"]}, False),
        ({"label": ["tier=front", "blue"]}, True),
        ({"label": ["tier=front", "red"]}, False),
        ({"image": ["busybox"]}, True),
        ({"network": ["x"]}, False),
    ],
)
def test_filters_choose_events(filters: dict[str, list[str]], passes: bool) -> None:
    assert matches(event(name="web", tier="front", blue="", image="busybox:1"), filters) is passes


def test_a_subscriber_gets_the_past_that_it_asks_for_and_then_the_present() -> None:
    async def scenario() -> list[str]:
        bus = EventBus()
        bus.publish("container", "create", "1", {})
        found = []
        async for entry in bus.subscribe({}, 0, time.time_ns() + 10**10):
            found.append(entry.action)
            if len(found) == 1:
                bus.publish("container", "start", "1", {})
            else:
                break
        return found

    assert asyncio.run(scenario()) == ["create", "start"]


def test_an_event_has_the_members_of_its_kind() -> None:
    async def scenario() -> list[bytes]:
        bus = EventBus()
        bus.publish("container", "die", "c", {"image": "i", "exitCode": "0"})
        bus.publish("image", "pull", "i", {"name": "i"})
        bus.publish("network", "create", "n", {})
        return [msgspec.json.encode(entry) async for entry in bus.subscribe({}, 0, time.time_ns())]

    found = [re.sub(rb'"time":[0-9]+,"timeNano":[0-9]+', b"TIMES", line) for line in asyncio.run(scenario())]
    assert found == [
        (
            b'{"Type":"container","Action":"die","Actor":{"ID":"c","Attributes":{"image":"i","exitCode":"0"}},'
            b'"scope":"local",TIMES,"status":"die","id":"c","from":"i"}'
        ),
        (
            b'{"Type":"image","Action":"pull","Actor":{"ID":"i","Attributes":{"name":"i"}},'
            b'"scope":"local",TIMES,"status":"pull","id":"i"}'
        ),
        b'{"Type":"network","Action":"create","Actor":{"ID":"n","Attributes":{}},"scope":"local",TIMES}',
    ]


def test_a_subscription_into_the_past_ends_at_once() -> None:
    async def scenario() -> list[str]:
        bus = EventBus()
        bus.publish("container", "create", "1", {})
        return [entry.action async for entry in bus.subscribe({}, 0, time.time_ns())]

    assert asyncio.run(scenario()) == ["create"]


# --- merging


def merged(config: ContainerConfig, **image: object) -> ContainerConfig:
    return with_image_defaults(config, image)


def test_the_images_command_is_used_when_none_is_given() -> None:
    assert command_of(merged(ContainerConfig(), Cmd=["sh"], Entrypoint=["tini", "--"])) == ["tini", "--", "sh"]


def test_a_command_goes_to_the_images_entrypoint() -> None:
    assert command_of(merged(ContainerConfig(cmd=["ls"]), Cmd=["sh"], Entrypoint=["tini"])) == ["tini", "ls"]


def test_an_entrypoint_of_ones_own_drops_the_images_command() -> None:
    assert command_of(merged(ContainerConfig(entrypoint="echo"), Cmd=["sh"], Entrypoint=["tini"])) == ["echo"]


def test_an_empty_entrypoint_drops_the_images() -> None:
    assert command_of(merged(ContainerConfig(entrypoint=[""], cmd=["ls"]), Entrypoint=["tini"])) == ["ls"]


def test_an_empty_word_is_a_command_that_will_not_be_found() -> None:
    assert command_of(merged(ContainerConfig(cmd=[""]), Cmd=["sh"])) == [""]


def test_without_any_command_there_is_nothing_to_run() -> None:
    with pytest.raises(InvalidInput, match="no command specified"):
        command_of(merged(ContainerConfig()))


def test_ones_own_environment_and_labels_win() -> None:
    config = merged(
        ContainerConfig(env=["A=1"], labels={"x": "mine"}), Env=["A=2", "B=3"], Labels={"x": "theirs", "y": "z"}
    )
    assert config.env == ["A=1", "B=3"]
    assert config.labels == {"x": "mine", "y": "z"}
