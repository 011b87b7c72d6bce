"""What the query of ``POST /build`` means."""

from __future__ import annotations

import json
from typing import Any

import pytest
from multidict import MultiDict

from wherry.api.classic.query import BuildQuery, parse
from wherry.build.model.executor import Limits
from wherry.build.model.request import CacheTarget, Export
from wherry.errors import InvalidInput, WherryError


def read(*pairs: tuple[str, Any]) -> BuildQuery:
    """A query; what is no text goes as JSON."""
    given = MultiDict((name, value if isinstance(value, str) else json.dumps(value)) for name, value in pairs)
    return parse(given, lambda: "172.17.0.1")


@pytest.mark.parametrize(
    ("pairs", "options"),
    [
        ([], {}),
        ([("dockerfile", "sub/Dockerfile.dev")], {"filename": "sub/Dockerfile.dev"}),
        ([("target", "base")], {"target": "base"}),
        ([("platform", "linux/arm64")], {"platform": "linux/arm64"}),
        ([("platform", {"os": "linux", "architecture": "arm", "variant": "v7"})], {"platform": "linux/arm/v7"}),
        ([("pull", "1")], {"image-resolve-mode": "pull"}),
        ([("pull", "0")], {}),
        ([("nocache", "1")], {"no-cache": ""}),
        ([("buildargs", {"A": "1", "B": None, "C": ""})], {"build-arg:A": "1", "build-arg:C": ""}),
        ([("buildargs", "null")], {}),
        ([("labels", {"a.b": "c d"})], {"label:a.b": "c d"}),
        ([("networkmode", "host")], {"force-network-mode": "host"}),
        ([("networkmode", "none")], {"force-network-mode": "none"}),
        ([("networkmode", "default")], {}),
        ([("networkmode", "bridge")], {}),
        ([("networkmode", "mine")], {"force-network-mode": "network:mine"}),
        ([("extrahosts", "a:1.2.3.4"), ("extrahosts", "b=5.6.7.8")], {"add-hosts": "a=1.2.3.4,b=5.6.7.8"}),
        ([("extrahosts", "a:::1"), ("extrahosts", "b:[::2]")], {"add-hosts": "a=::1,b=::2"}),
        ([("extrahosts", "a:host-gateway")], {"add-hosts": "a=172.17.0.1"}),
        ([("shmsize", "67108864")], {"shm-size": "67108864"}),
        ([("shmsize", "0")], {}),
        ([("ulimits", [{"Name": "nofile", "Soft": 1, "Hard": 2}])], {"ulimit": "nofile=1:2"}),
        ([("ulimits", [{"Name": "a", "Soft": 1, "Hard": 2}, {"Name": "b", "Soft": 3, "Hard": 3}])],
         {"ulimit": "a=1:2,b=3:3"}),
        ([("cgroupparent", "/x")], {"cgroup-parent": "/x"}),
        ([("remote", "https://example.com/a.git#main")], {"context": "https://example.com/a.git#main"}),
        ([("remote", "git@example.com:a/b.git")], {"context": "git@example.com:a/b.git"}),
        ([("remote", "a"), ("session", "s")], {"context": "a"}),
        ([("remote", "client-session")], {}),
        ([("remote", "upload-request")], {}),
        ([("rm", "1"), ("forcerm", "1"), ("isolation", "default")], {}),
    ],
)  # fmt: skip
def test_a_parameter_is_an_option_of_the_frontend(pairs: list[tuple[str, Any]], options: dict[str, str]) -> None:
    assert read(*pairs).options == options


def test_directories_of_this_machine_are_for_our_own_client() -> None:
    found = read(("version", "3"), ("volumes", ["/a:/b", "/c:/d:ro"]))
    assert found.binds == {"/a", "/c"}
    assert json.loads(found.options["volumes"]) == ["/a:/b", "/c:/d:ro"]
    for version in ("1", "2"):
        other = read(("version", version), ("volumes", ["/a:/b"]))
        assert (other.binds, other.options.get("volumes")) == (frozenset(), None)
    for wrong in ("a:/b", "/a", "/a:b", "/a:/", "/a:/b:z", "/a:/b/..", "/a:/b\0"):
        with pytest.raises(InvalidInput, match="invalid volume"):
            read(("version", "3"), ("volumes", [wrong]))
    with pytest.raises(InvalidInput, match="invalid frontend option"):
        read(("version", "3"), ("frontend", {"volumes": "[]"}))


def test_names_go_to_the_images_each_once() -> None:
    found = read(("t", "a"), ("t", "b:1"), ("t", "a:latest"), ("t", ""))
    assert found.tags == ("docker.io/library/a:latest", "docker.io/library/b:1")
    assert found.exports == (Export("moby", {"name": "docker.io/library/a:latest,docker.io/library/b:1"}),)
    assert read().exports == (Export("moby", {}),)


def test_outputs_say_where_else_the_result_goes() -> None:
    assert read(("outputs", [{"Type": "local", "Attrs": {}}])).exports == (Export("local", {}),)
    assert read(("outputs", [{"Type": "moby", "Attrs": {"name": "x"}}]), ("t", "a")).exports == (
        Export("moby", {"name": "x,docker.io/library/a:latest"}),
    )
    assert read(("outputs", [{"Type": "cacheonly", "Attrs": {}}])).exports == ()
    assert read(("squash", "1")).exports == (Export("moby", {"layers": "stage"}),)


def test_limits_are_no_options() -> None:
    found = read(("memory", "1"), ("memswap", "-1"), ("cpushares", "2"), ("cpuperiod", "3"), ("cpuquota", "4"),
                 ("cpusetcpus", "0-1"), ("cpusetmems", "0"))  # fmt: skip
    assert found.options == {}
    assert found.limits == Limits(
        memory=1, memory_swap=-1, cpu_shares=2, cpu_period=3, cpu_quota=4, cpuset_cpus="0-1", cpuset_mems="0"
    )
    assert read(("memory", "much")).limits == Limits()


def test_the_rest_is_about_the_build_itself() -> None:
    found = read(("version", "2"), ("buildid", "x"), ("session", "s"), ("q", "1"), ("remote", "client-session"))
    assert (found.version, found.identifier, found.session, found.quiet) == (2, "x", "s", True)
    assert read(("buildid", "upload-request:x")).upload_of == "x"
    assert read(("cachefrom", ["a", "b"])).cache.imports == (
        CacheTarget("registry", {"ref": "a"}),
        CacheTarget("registry", {"ref": "b"}),
    )
    assert read(("networkmode", "host")).entitlements == {"network.host"}
    assert read().entitlements == frozenset()
    assert read(("networkmode", "container:web")).joins == "web"
    assert [read(("networkmode", mode)).joins for mode in ("host", "web", "")] == ["", "", ""]
    assert read(("networkmode", "container:web"), ("version", "2")).joins == ""


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("version", "4", "invalid version 4"),
        ("t", "UPPER", "must be lowercase"),
        ("t", f"a@sha256:{'0' * 64}", "build tag cannot contain a digest"),
        ("buildargs", "[]", "error reading build args"),
        ("buildargs", "{", "error reading build args"),
        ("labels", '{"a": 1}', "error reading labels"),
        ("ulimits", "{}", "error reading ulimit settings"),
        ("cachefrom", "{}", "error reading cache sources"),
        ("outputs", '[{"Type": "local"}, {"Type": "tar"}]', "multiple outputs not supported"),
        ("extrahosts", "nothing", "invalid host nothing"),
        ("isolation", "hyperv", 'Unsupported isolation: "hyperv"'),
        ("platform", "{", "failed to parse platform"),
        ("remote", "nonsense", r"remoteURL \(nonsense\) could not be recognized as URL"),
        ("remote", "ftp://localhost/x", "could not be recognized as URL"),
    ],
)
def test_what_makes_no_sense_is_refused(name: str, value: str, words: str) -> None:
    with pytest.raises(WherryError, match=words):
        read((name, value))


def test_without_a_gateway_no_host_can_be_it() -> None:
    with pytest.raises(InvalidInput, match="unable to derive the IP value for host-gateway"):
        parse(MultiDict(extrahosts="a:host-gateway"))
