"""The frontend's options."""

from __future__ import annotations

import pytest

from wherry.build.front.options import FrontOptions
from wherry.build.model.graph import NetworkMode
from wherry.errors import InvalidInput, Unsupported
from wherry.oci.platform import Platform


def test_without_options_all_is_as_docker_has_it() -> None:
    options = FrontOptions.parse({})
    assert (options.filename, options.target, options.platforms, options.no_cache) == ("Dockerfile", "", (), None)
    assert (options.resolve_mode, options.network, options.multi_platform) == ("default", NetworkMode.DEFAULT, False)


def test_platforms_are_normalised_and_each_is_there_once() -> None:
    options = FrontOptions.parse({"platform": "linux/aarch64,linux/arm64/v8,linux/amd64"})
    assert options.platforms == (Platform("linux", "arm64"), Platform("linux", "amd64"))
    assert options.multi_platform


def test_the_context_may_have_another_name() -> None:
    options = FrontOptions.parse({"contextkey": "c", "c": "https://example.com/r.git", "dockerfilekey": "d"})
    assert (options.context, options.dockerfile_name, options.forced_dockerfile) == (
        "https://example.com/r.git",
        "d",
        True,
    )


@pytest.mark.parametrize(
    ("value", "stage", "ignored"),
    [(None, "a", False), ("", "a", True), ("", "", True), ("a,b", "B", True), ("a", "c", False), ("a", "", False)],
)
def test_the_cache_is_ignored_for_all_stages_or_those_named(value: str | None, stage: str, ignored: bool) -> None:
    raw = {} if value is None else {"no-cache": value}
    assert FrontOptions.parse(raw).ignores_cache(stage) is ignored


def test_a_network_of_the_engine_may_be_named() -> None:
    assert FrontOptions.parse({"force-network-mode": "network:mine"}).network == "network:mine"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("", "default"),
        ("sandbox", "default"),
        ("network:default", "default"),
        ("network:host", "host"),
        ("network:none", "none"),
        ("network:sandbox", "network:sandbox"),
        ("network:container:web", "network:container:web"),
        ("container:web", "network:container:web"),
        ("network:network:host", "network:network:host"),
    ],
)
def test_a_network_has_one_name_however_it_is_written(written: str, meant: str) -> None:
    assert FrontOptions.parse({"force-network-mode": written}).network == meant


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("platform", "a/b/c/d", "failed to parse target platform a/b/c/d"),
        ("platform", ",".join(f"linux/a{number}" for number in range(99)), "more than 64 target platforms"),
        ("image-resolve-mode", "x", "invalid image-resolve-mode: x"),
        ("force-network-mode", "mine", "invalid netmode mine"),
        ("force-network-mode", "network:", "invalid netmode network:"),
        ("add-hosts", "a", "failed to parse additional hosts: invalid key-value pair a"),
        ("add-hosts", "a=b", "failed to parse additional hosts: failed to parse IP b"),
        ("add-hosts", '"a', "failed to parse additional hosts"),
        ("add-hosts", "a\n10.0.0.1 b=1.2.3.4", "invalid host name"),
        ("ulimit", "nofile", "failed to parse ulimit: invalid ulimit argument: nofile"),
        ("ulimit", "x=1", "invalid ulimit type: x"),
        ("ulimit", "core=5:4", "soft limit must be less than or equal to hard limit"),
        ("ulimit", "core=-1:4", "soft limit must be less than or equal to hard limit"),
        ("shm-size", "1g", "failed to parse shm size"),
        ("shm-size", "9" * 19, "failed to parse shm size"),
        ("force-network-mode", "x", "invalid netmode x"),
        ("multi-platform", "x", "invalid boolean value for multi-platform: x"),
    ],
)
def test_an_option_that_makes_no_sense_is_an_error(name: str, value: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        FrontOptions.parse({name: value})


def test_several_platforms_need_a_result_that_can_hold_them() -> None:
    with pytest.raises(InvalidInput, match="conflicting config"):
        FrontOptions.parse({"platform": "linux/amd64,linux/arm64", "multi-platform": "false"})


def test_capabilities_that_are_not_there_are_refused() -> None:
    FrontOptions.parse({"frontend.caps": "moby.buildkit.frontend.inputs,moby.buildkit.frontend.contexts+forward"})
    with pytest.raises(Unsupported, match=r"unsupported frontend capability moby\.x"):
        FrontOptions.parse({"frontend.caps": "moby.x"})


@pytest.mark.parametrize("value", ["a\0b", "\ud800"])
def test_what_is_no_text_is_refused(value: str) -> None:
    with pytest.raises(InvalidInput, match="is no text"):
        FrontOptions.parse({"build-arg:A": value})
    with pytest.raises(InvalidInput, match="is no text"):
        FrontOptions.parse({f"build-arg:{value}": "a"})
