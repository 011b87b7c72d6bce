"""Tests for a container's configuration as it is shown."""

from __future__ import annotations

import msgspec
import pytest

from wherry.docker.configuration_answers import ConfigView, HostConfigView, completed
from wherry.docker.container_requests import ContainerConfig, HostConfig, Mount


@pytest.mark.parametrize(("view", "request_type"), [(ConfigView, ContainerConfig), (HostConfigView, HostConfig)])
def test_all_that_can_be_asked_for_is_shown_and_in_the_same_order(
    view: type[msgspec.Struct], request_type: type[msgspec.Struct]
) -> None:
    assert view.__struct_encode_fields__ == request_type.__struct_encode_fields__


def test_zero_is_asked_for_and_null_is_not() -> None:
    shown = msgspec.to_builtins(completed(ConfigView, ContainerConfig(stop_timeout=0, labels=None), image="i"))
    assert (shown["StopTimeout"], shown["Labels"], shown["Image"]) == (0, {}, "i")
    assert "StopTimeout" not in msgspec.to_builtins(completed(ConfigView, ContainerConfig(), image="i"))


def test_two_containers_do_not_share_their_defaults() -> None:
    first, second = (completed(ConfigView, ContainerConfig(), image="i") for _ in range(2))
    first.env.append("A=b")
    assert second.env == []


def test_what_is_resolved_stands_for_what_was_asked_for() -> None:
    asked = HostConfig(links=["db"], mounts=[Mount(type="bind", target="/x")])
    shown = completed(
        HostConfigView, asked, links=None, port_bindings={}, restart_policy=None, masked_paths=[], readonly_paths=[]
    )
    assert shown.links is None
    assert shown.mounts == asked.mounts
