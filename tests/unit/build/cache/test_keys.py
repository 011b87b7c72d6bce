"""What makes another cache key, and what must not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from support.build_fakes import copy, image, local, make_file, run
from wherry.build.cache.keys import ContentUse, content_key, content_uses, fast_key, source_identity
from wherry.build.model.graph import (
    NO_INPUT,
    BuildMount,
    Cache,
    CacheSharing,
    Chown,
    Copy,
    Edge,
    ExecOp,
    FileAction,
    FileOp,
    HostEntry,
    Metadata,
    Owner,
    Secret,
    SecretEnv,
    Ssh,
    Tmpfs,
    Ulimit,
    Vertex,
)
from wherry.oci.platform import Platform


def exec_key(*mounts: BuildMount, base: str = "base", platform: Platform | None = None, **changes: Any) -> str:
    """The fast key of a step."""
    options: dict[str, Any] = {"args": ("make",), "env": ("A=1",), "cwd": "/src"} | changes
    vertex = Vertex.of(ExecOp(mounts=(BuildMount("/", input=0, output=0), *mounts), **options), [image("x")])
    if platform is not None:
        vertex = Vertex.of(vertex.op, vertex.inputs, platform=platform)
    return fast_key(vertex, [base])


CACHE = BuildMount("/cache", Cache("a"))
SECRET = BuildMount("/run/secrets/a", Secret("a"))

CHANGES: dict[str, tuple[bool, Callable[[], str]]] = {
    # of a step without mounts
    "another command": (True, lambda: exec_key(args=("make", "all"))),
    "another base": (True, lambda: exec_key(base="other")),
    "a variable's value": (True, lambda: exec_key(env=("A=2",))),
    "the order of variables": (True, lambda: exec_key(env=("A=1", "B=2"))),
    "another directory": (True, lambda: exec_key(cwd="/")),
    "another user": (True, lambda: exec_key(user="nobody")),
    "another network": (True, lambda: exec_key(network="none")),
    "another security": (True, lambda: exec_key(security="insecure")),
    "another platform": (True, lambda: exec_key(platform=Platform("linux", "arm64"))),
    "a device": (True, lambda: exec_key(devices=("vendor/gpu=all",))),
    "another host name for /etc/hosts": (True, lambda: exec_key(extra_hosts=(HostEntry("x", "10.0.0.1"),))),
    "a cache mount": (True, lambda: exec_key(CACHE)),
    "a secret": (True, lambda: exec_key(SECRET)),
    "a secret as a variable": (True, lambda: exec_key(secret_env=(SecretEnv("a", "A"),))),
    "an agent": (True, lambda: exec_key(BuildMount("/agent", Ssh("default")))),
    "memory": (True, lambda: exec_key(BuildMount("/tmp", Tmpfs()))),
    "proxies": (False, lambda: exec_key(proxy_env=("HTTP_PROXY=http://proxy",))),
    "limits": (False, lambda: exec_key(ulimits=(Ulimit("nofile", 1, 2),), cgroup_parent="x", shm_size=1 << 20)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_of_a_step(change: str) -> None:
    differs, changed = CHANGES[change]
    assert (exec_key() != changed()) is differs


def test_of_a_cache_mount_only_the_place_counts() -> None:
    elsewhere = BuildMount("/cache", Cache("b", CacheSharing.LOCKED))
    assert exec_key(CACHE) == exec_key(elsewhere)
    assert exec_key(CACHE) != exec_key(BuildMount("/other", Cache("a")))


def test_addresses_of_further_hosts_do_not_count() -> None:
    first, second = (exec_key(extra_hosts=(HostEntry("x", address),)) for address in ("10.0.0.1", "10.0.0.2"))
    assert first == second


def test_names_and_places_in_a_dockerfile_do_not_count() -> None:
    vertex = run(image("x"), "make").vertex
    named = Vertex.of(vertex.op, vertex.inputs, metadata=Metadata(name="other", ignore_cache=True))
    assert fast_key(vertex, ["base"]) == fast_key(named, ["base"])


def copy_key(source: str, checksum: str = "sum", base: str = "base", **options: Any) -> str:
    """The content key of a COPY."""
    vertex = copy(image("x"), local(), source, "/dst", **options).vertex
    return content_key(vertex, [base, "whatever"], {1: [checksum]})


COPIES: dict[str, tuple[bool, Callable[[], str]]] = {
    "other content": (True, lambda: copy_key("src", "other")),
    "another base": (True, lambda: copy_key("src", base="other")),
    "another name": (True, lambda: copy_key("dst")),
    "another owner": (True, lambda: copy_key("src", chown=Chown(user=Owner(id=1)))),
    "another mode": (True, lambda: copy_key("src", mode=0o600)),
    "a symbolic mode": (True, lambda: copy_key("src", mode_text="u=rw")),
    "another directory of the context": (False, lambda: copy_key("sub/src")),
    "a path that means the same": (False, lambda: copy_key("./src/")),
    "another directory, which is kept": (True, lambda: copy_key("sub/src", parents=True)),
}


@pytest.mark.parametrize("change", COPIES)
def test_of_a_copy(change: str) -> None:
    differs, changed = COPIES[change]
    assert (copy_key("src") != changed()) is differs


def test_the_identity_of_what_is_copied_from_does_not_count() -> None:
    vertex = copy(image("x"), local(), "src", "/dst").vertex
    assert content_key(vertex, ["base", "one"], {1: ["sum"]}) == content_key(vertex, ["base", "two"], {1: ["sum"]})
    assert fast_key(vertex, ["base", "one"]) != fast_key(vertex, ["base", "two"])


def test_where_all_of_an_input_counts_the_place_in_it_counts_as_well() -> None:
    """Two files of the same name in one directory of a client's, which is also what is copied into."""

    def key(source: str) -> str:
        action = FileAction(Copy(source, "/dst"), input=0, secondary=0, output=0)
        vertex = Vertex.of(FileOp((action,)), [local()])
        assert content_uses(vertex, frozenset({0})) == {0: (ContentUse(0),)}
        return content_key(vertex, ["local"], {0: ["whole"]})

    assert key("a/file") != key("b/file")


def uses(edge: Edge) -> dict[int, tuple[ContentUse, ...]]:
    return content_uses(edge.vertex)


def test_a_copy_counts_by_what_it_takes() -> None:
    [use] = uses(copy(image("x"), local(), "src", "/dst"))[1]
    assert use.copy is not None
    assert use.copy.source == "src"


def test_what_is_copied_from_its_own_base_counts_as_a_whole() -> None:
    action = FileAction(Copy("a", "/b"), input=0, secondary=0, output=0)
    assert uses(Vertex.of(FileOp((action,)), [image("x")]).output()) == {}


def test_an_owners_name_is_looked_up_in_files_that_count() -> None:
    chown = Chown(user=Owner(name="app", input=1))
    action = FileAction(Copy("a", "/b", chown=chown), input=NO_INPUT, secondary=0, output=0)
    found = uses(Vertex.of(FileOp((action,)), [local(), image("x")]).output())
    assert [use.path for use in found[1]] == ["/etc/passwd", "/etc/group"]
    assert all(use.optional for use in found[1])


@pytest.mark.parametrize(
    ("changes", "by_content"),
    [
        ({}, True),
        ({"readonly": False}, False),
        ({"output": 1}, False),
        ({"content_key": False}, False),
        ({"kind": Cache("a")}, False),
    ],
)
def test_a_mount_counts_by_content_where_nothing_can_be_written(changes: dict[str, Any], by_content: bool) -> None:
    mount = msgspec.structs.replace(BuildMount("/src", input=1, selector="sub", readonly=True), **changes)
    found = uses(run(image("x"), "make", mount, inputs=[local()]))
    assert (1 in found) is by_content
    if by_content:
        assert [use.path for use in found[1]] == ["sub"]


def test_the_selector_of_a_mount_that_counts_by_content_does_not() -> None:
    def key(selector: str) -> str:
        mount = BuildMount("/src", input=1, selector=selector, readonly=True)
        return content_key(run(image("x"), "make", mount, inputs=[local()]).vertex, ["base", "any"], {1: ["sum"]})

    assert key("a") == key("b")


def test_a_linked_copy_knows_nothing_of_a_base() -> None:
    vertex = copy(None, make_file("/a", b"1"), "a", "/b").vertex
    assert list(content_uses(vertex)) == [0]
    assert len(vertex.inputs) == 1


def test_no_kind_of_key_can_be_taken_for_another() -> None:
    vertex = copy(image("x"), local(), "src", "/dst").vertex
    keys = {fast_key(vertex, ["a", "b"]), content_key(vertex, ["a", "b"], {}), source_identity("a")}
    assert len(keys) == 3
