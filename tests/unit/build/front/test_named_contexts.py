"""Named contexts: in place of an image, of a stage, or beside them."""

from __future__ import annotations

import base64
import json

import pytest

from support.fake_gateway import FakeGateway, config, digest_of, image_config, solved, steps
from wherry.build.model.errors import DockerfileError
from wherry.build.model.graph import SourceOp, Vertex

ALPINE = "docker.io/library/alpine:3"
IMAGES = {ALPINE: image_config(Env=["PATH=/alpine"], Labels={"is": "alpine"})}
OTHER = Vertex.of(SourceOp("docker-image://docker.io/library/other:latest")).output()


async def test_an_image_is_replaced_by_another_one() -> None:
    gateway = FakeGateway("FROM busybox\nRUN x", images=IMAGES)
    result = await solved("", {"context:busybox": "docker-image://alpine:3"}, gateway=gateway)
    first = next(iter(steps(result).values()))
    assert first.op == SourceOp(f"docker-image://{ALPINE}@{digest_of(ALPINE)}")
    assert first.metadata.name == "[context busybox] alpine:3"
    assert config(result)["config"]["Labels"] == {"is": "alpine"}
    assert gateway.titles == ["[context busybox] load metadata for alpine:3"]


@pytest.mark.parametrize("written", ["busybox", "busybox:latest", "docker.io/library/busybox"])
async def test_a_context_is_meant_by_every_form_of_its_name(written: str) -> None:
    gateway = FakeGateway(f"FROM {written}", images=IMAGES)
    await solved("", {"context:busybox": "docker-image://alpine:3"}, gateway=gateway)
    assert [name for name, *_ in gateway.resolved] == [ALPINE]


async def test_a_stage_is_replaced_and_nothing_of_it_is_built() -> None:
    result = await solved(
        "FROM nowhere AS build\nRUN make\nFROM scratch\nCOPY --from=build /x /",
        {"context:build": "input:build"},
        inputs={"build": OTHER},
    )
    edge = result.refs[""].edge
    assert edge is not None
    assert edge.vertex.inputs == (OTHER,)


async def test_a_replaced_stage_can_be_a_base() -> None:
    metadata = json.dumps({"containerimage.config": base64.b64encode(image_config(Env=["A=1"])).decode()})
    result = await solved(
        "FROM nowhere AS base\nFROM base\nENV B=2",
        {"context:base": "input:base", "input-metadata:base": metadata},
        inputs={"base": OTHER},
    )
    assert result.refs[""].edge == OTHER
    assert config(result)["config"]["Env"][0] == "A=1"


async def test_a_context_for_the_platform_comes_first() -> None:
    options = {"context:busybox": "docker-image://nope", "context:busybox::linux/arm64": "docker-image://alpine:3"}
    gateway = FakeGateway("FROM busybox", images=IMAGES)
    await solved("", options | {"platform": "linux/arm64"}, gateway=gateway)
    assert gateway.resolved == [(ALPINE, "linux/arm64", "default", "")]


async def test_a_directory_of_the_client_has_its_own_dockerignore_and_only_what_is_used_is_fetched() -> None:
    files = {("local://src", ".dockerignore"): b"*.o"}
    gateway = FakeGateway("FROM scratch\nCOPY --from=src a /\nCOPY --from=src b/* /", files=files)
    options = {"context:src": "local:src", "sharedkey:localdir:src": "key", "local-sessionid:src": "s2"}
    found = steps(await solved("", options, gateway=gateway))
    assert found["[context src] load from client"].op == SourceOp(
        "local://src",
        {
            "local.sharedkeyhint": "context:src-key",
            "local.session": "s2",
            "local.followpaths": '["a","b/*"]',
            "local.excludepatterns": '["*.o"]',
        },
    )


async def test_an_image_in_a_layout_of_the_clients() -> None:
    digest = digest_of("layout")
    name = f"docker.io/library/base@{digest}"
    gateway = FakeGateway("FROM base\nRUN x", images={name: image_config(Labels={"a": "b"})})
    result = await solved("", {"context:base": f"oci-layout://store:latest@{digest}"}, gateway=gateway)
    assert gateway.resolved == [(name, "linux/amd64", "default", "store")]
    first = next(iter(steps(result).values()))
    assert first.op == SourceOp(f"oci-layout://{name}", {"oci.store": "store", "oci.session": "session-1"})
    assert config(result)["config"]["Labels"] == {"a": "b"}


@pytest.mark.parametrize(
    ("value", "identifier"),
    [
        ("https://example.com/r.git#x", "git://example.com/r.git#x"),
        ("git@example.com:r.git", "git://example.com/r.git"),
        ("https://example.com/x.tar", "https://example.com/x.tar"),
    ],
)
async def test_a_context_may_be_elsewhere(value: str, identifier: str) -> None:
    result = await solved("FROM scratch\nCOPY --from=c /x /", {"context:c": value})
    first = next(iter(steps(result).values()))
    assert isinstance(first.op, SourceOp)
    assert first.op.identifier == identifier


async def test_a_context_may_be_nothing() -> None:
    assert (await solved("FROM busybox", {"context:busybox": "docker-image://scratch"})).refs[""].edge is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("nothing", "invalid context specifier nothing for c"),
        ("x:y", "unsupported context source x for c"),
        ("input:missing", "invalid input missing for c"),
        ("docker-image://Nope", "must be lowercase"),
        ("docker-image://missing", "not found"),
        ("oci-layout://store", 'oci-layout reference "store" has no digest'),
        ("oci-layout://store@sha256:xyz", "invalid reference format"),
        ("git@x y:z", "invalid git context git@x y:z"),
    ],
)
async def test_a_context_that_is_none_is_an_error_at_its_use(value: str, message: str) -> None:
    with pytest.raises(DockerfileError, match=message) as caught:
        await solved("FROM scratch\nCOPY --from=c /x /", {"context:c": value})
    assert caught.value.ranges[0].start_line == 2


async def test_metadata_of_an_input_that_is_none_is_an_error() -> None:
    with pytest.raises(DockerfileError, match="failed to parse input metadata"):
        await solved("FROM b", {"context:b": "input:b", "input-metadata:b": "["}, inputs={"b": OTHER})
