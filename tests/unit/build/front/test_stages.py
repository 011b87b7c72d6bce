"""Stages: which are built, what they inherit, and what they must not do."""

from __future__ import annotations

import pytest

from support.fake_gateway import FakeGateway, config, digest_of, history, image_config, solved, steps
from wherry.build.model.errors import DockerfileError
from wherry.build.model.graph import ExecOp, SourceOp, SourceRange
from wherry.errors import InvalidInput, NotFound

BUSYBOX = "docker.io/library/busybox:latest"
FROM_BUSYBOX = f"FROM {BUSYBOX}@{digest_of(BUSYBOX)}"


async def test_the_last_stage_is_built_with_what_it_needs() -> None:
    found = steps(
        await solved(
            "FROM busybox AS unused\nRUN false\nFROM busybox AS build\nRUN make\nFROM scratch\nCOPY --from=build /x /"
        )
    )
    assert list(found) == [
        f"[build 1/2] {FROM_BUSYBOX}",
        "[build 2/2] RUN make",
        "[stage-2 1/1] COPY --from=build /x /",
    ]


async def test_a_lone_stage_has_no_title() -> None:
    assert list(steps(await solved("FROM busybox\nRUN make"))) == [f"[1/2] {FROM_BUSYBOX}", "[2/2] RUN make"]


@pytest.mark.parametrize("target", ["build", "BUILD", "0"])
async def test_a_target_is_found_by_its_name_in_any_case_and_by_number(target: str) -> None:
    found = await solved("FROM busybox AS Build\nRUN make\nFROM scratch\nCOPY a /", {"target": target})
    assert list(steps(found))[-1] == "[build 2/2] RUN make"


async def test_the_base_is_a_stage_only_if_it_is_written_in_lower_case() -> None:
    """As in BuildKit, where COPY, mounts and targets are not so particular."""
    text = "FROM busybox AS Build\nRUN make\nFROM {}\nCOPY --from=BUILD a /\nRUN --mount=from=bUILD,target=/m true"
    assert len(steps(await solved(text.format("build")))) == 4
    with pytest.raises(DockerfileError, match=r"repository name \(library/Build\) must be lowercase"):
        await solved(text.format("Build"))


async def test_a_target_that_is_not_there_is_an_error_with_a_suggestion() -> None:
    with pytest.raises(InvalidInput, match=r'target stage "builder" could not be found \(did you mean build\?\)'):
        await solved("FROM busybox AS build", {"target": "builder"})


async def test_a_stage_inherits_arguments_variables_and_settings_of_its_base() -> None:
    text = "FROM busybox AS a\nARG X=1\nENV Y=2\nUSER 5\nWORKDIR /w\nFROM a\nRUN env"
    result = await solved(text)
    op = steps(result)["[stage-1 1/1] RUN env"].op
    assert isinstance(op, ExecOp)
    assert op.env == ("PATH=/bin", "X=1", "Y=2")
    assert (op.cwd, op.user) == ("/w", "5")
    assert history(result)[-1] == "RUN |1 X=1 /bin/sh -c env # buildkit"


async def test_what_a_stage_changes_is_not_seen_by_its_base() -> None:
    text = "FROM busybox AS a\nENV A=1\nFROM a AS b\nENV A=2\nLABEL l=1\nFROM a"
    result = await solved(text)
    assert "A=1" in config(result)["config"]["Env"]
    assert "Labels" not in config(result)["config"]


async def test_global_arguments_are_for_from_only_unless_a_stage_declares_them() -> None:
    result = await solved("ARG V=busybox\nFROM $V\nENV A=-$V-\nARG V\nENV B=-$V-")
    assert config(result)["config"]["Env"][1:] == ["A=--", "B=-busybox-"]


async def test_a_build_argument_wins_over_every_default() -> None:
    result = await solved("ARG V=1\nFROM busybox\nARG V=2\nENV A=$V", {"build-arg:V": "3"})
    assert config(result)["config"]["Env"][-1] == "A=3"


async def test_a_variable_wins_over_an_argument_before_it() -> None:
    result = await solved("FROM busybox\nARG V=1\nENV V=2\nENV A=$V", {"build-arg:V": "3"})
    assert config(result)["config"]["Env"][-1] == "A=2"


async def test_copy_from_an_image_looks_it_up() -> None:
    gateway = FakeGateway("FROM scratch\nCOPY --from=busybox /bin/x /")
    found = steps(await solved("", gateway=gateway))
    assert list(found) == [FROM_BUSYBOX, "[stage-0 1/1] COPY --from=busybox /bin/x /"]
    assert gateway.titles == [f"[internal] load metadata for {BUSYBOX}"]


async def test_an_image_is_looked_up_once_however_many_stages_use_it() -> None:
    text = "\n".join(f"FROM busybox AS s{number}\nRUN {number}" for number in range(9))
    gateway = FakeGateway(text + "\nFROM scratch\n" + "\n".join(f"COPY --from=s{number} / /" for number in range(9)))
    await solved("", gateway=gateway)
    assert len(gateway.resolved) == 1


async def test_stages_that_need_each_other_are_an_error() -> None:
    with pytest.raises(DockerfileError, match="circular dependency detected on stage: a") as caught:
        await solved("FROM scratch AS a\nCOPY --from=b / /\nFROM scratch AS b\nCOPY --from=a / /")
    assert [one.start_line for one in caught.value.ranges] == [2, 4]


async def test_a_stage_that_copies_from_itself_is_an_error() -> None:
    with pytest.raises(DockerfileError, match="circular dependency detected on stage: a"):
        await solved("FROM scratch AS a\nCOPY --from=a / /")


async def test_a_stage_that_comes_later_cannot_be_copied_from() -> None:
    with pytest.raises(DockerfileError, match='cannot copy from stage "b", it needs to be defined before'):
        await solved("FROM busybox AS a\nCOPY --from=b / /\nFROM busybox AS b", {"target": "a"})


async def test_an_image_that_is_not_there_is_an_error_at_its_from() -> None:
    with pytest.raises(DockerfileError, match=r"^busybx: failed .*not found \(did you mean busybox\?\)$") as caught:
        await solved("FROM scratch\nFROM busybx")
    assert caught.value.ranges == (SourceRange(2, 0, 2, 11),)
    assert caught.value.source == b"FROM scratch\nFROM busybx"
    assert isinstance(caught.value.__cause__, NotFound)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FROM Nope", r"invalid reference format: repository name \(.*Nope\) must be lowercase"),
        ("ARG X\nFROM $X", r"base name \(\$X\) should not be blank"),
        ("FROM --platform=$X busybox", r"empty platform value from expression \$X"),
        ("FROM --platform=a/b/c/d busybox", "failed to parse platform a/b/c/d"),
        ("FROM busybox\nCOPY --from=7 / /", "invalid stage index 7"),
        ("FROM busybox\nCOPY --from=$X / /", "variable expansion is not supported for --from"),
        ("FROM busybox\nENV A=${X:?no}", 'failed to process "\\${X:\\?no}": X: no'),
    ],
)
async def test_a_wrong_stage_is_an_error_with_its_place(text: str, message: str) -> None:
    with pytest.raises(DockerfileError, match=message) as caught:
        await solved(text)
    assert caught.value.ranges


async def test_a_base_of_nothing_has_no_step_of_its_own() -> None:
    result = await solved("FROM scratch")
    assert result.refs[""].edge is None
    assert config(result)["config"]["WorkingDir"] == "/"


async def test_an_image_without_layers_is_an_empty_base() -> None:
    empty = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'
    gateway = FakeGateway("FROM nothing", images={"docker.io/library/nothing:latest": empty})
    assert (await solved("", gateway=gateway)).refs[""].edge is None


async def test_triggers_of_a_base_are_run_first_and_not_inherited() -> None:
    images = {BUSYBOX: image_config(Env=["PATH=/bin"], OnBuild=["RUN one", "ENV TWO=2"])}
    gateway = FakeGateway("FROM busybox\nRUN three", images=images)
    result = await solved("", gateway=gateway)
    assert list(steps(result)) == [f"[1/3] {FROM_BUSYBOX}", "[2/3] ONBUILD RUN one", "[3/3] RUN three"]
    assert "OnBuild" not in config(result)["config"]
    assert "TWO=2" in config(result)["config"]["Env"]


async def test_a_trigger_may_need_another_image() -> None:
    images = {
        BUSYBOX: image_config(OnBuild=["COPY --from=other /a /b"]),
        "docker.io/library/other:latest": image_config(),
    }
    found = steps(await solved("", gateway=FakeGateway("FROM busybox", images=images)))
    assert list(found)[-1] == "[2/2] ONBUILD COPY --from=other /a /b"


async def test_triggers_of_a_stage_are_for_those_that_come_of_it() -> None:
    result = await solved("FROM busybox AS a\nONBUILD ENV A=1\nFROM a AS b\nFROM b")
    assert "A=1" in config(result)["config"]["Env"]
    own = await solved("FROM busybox AS a\nONBUILD ENV A=1")
    assert config(own)["config"]["OnBuild"] == ["ENV A=1"]
    assert "A=1" not in config(own)["config"]["Env"]


async def test_a_vertex_knows_where_it_was_written() -> None:
    run = steps(await solved("FROM busybox\nRUN a && \\\n  b"))["[2/2] RUN a &&   b"]
    assert (run.metadata.file, run.metadata.ranges[0].start_line, run.metadata.ranges[0].end_line) == (
        "Dockerfile",
        2,
        3,
    )


async def test_each_platform_has_its_own_graph() -> None:
    text = (
        "FROM --platform=$BUILDPLATFORM busybox AS tools\nARG TARGETARCH\nRUN cc $TARGETARCH\n"
        "FROM busybox\nCOPY --from=tools /x /"
    )
    result = await solved(text, {"platform": "linux/amd64,linux/arm64"})
    assert list(result.refs) == ["linux/amd64", "linux/arm64"]
    assert list(steps(result, "linux/arm64")) == [
        f"[linux/arm64 stage-1 1/2] {FROM_BUSYBOX}",
        f"[linux/amd64 tools 1/2] {FROM_BUSYBOX}",
        "[linux/amd64->arm64 tools 2/2] RUN cc arm64",
        "[linux/arm64 stage-1 2/2] COPY --from=tools /x /",
    ]
    assert config(result, "linux/arm64")["architecture"] == "arm64"
    base = steps(result, "linux/arm64")[f"[linux/arm64 stage-1 1/2] {FROM_BUSYBOX}"]
    assert isinstance(base.op, SourceOp)
    assert str(base.platform) == "linux/arm64"


@pytest.mark.parametrize(
    ("arguments", "given", "names"),
    [
        ("", {}, []),
        ("", {"BUILDKIT_SBOM_SCAN_STAGE": "true"}, []),
        ("ARG BUILDKIT_SBOM_SCAN_STAGE=true\n", {}, ["a", "b"]),
        ("ARG BUILDKIT_SBOM_SCAN_STAGE=a,other\n", {}, ["a"]),
        (
            "ARG BUILDKIT_SBOM_SCAN_STAGE\nARG BUILDKIT_SBOM_SCAN_CONTEXT=1\n",
            {"BUILDKIT_SBOM_SCAN_STAGE": "b"},
            ["b", "context"],
        ),
    ],
)
async def test_arguments_say_what_a_bill_of_materials_lists_as_well(
    arguments: str, given: dict[str, str], names: list[str]
) -> None:
    text = (
        "FROM busybox AS a\nRUN a\nFROM busybox AS unused\nFROM busybox AS b\nRUN b\nFROM busybox AS c\n"
        "COPY --from=a x /\n"
    )
    options = {f"build-arg:{name}": value for name, value in given.items()}
    result = await solved(f"{arguments}{text}RUN --mount=from=b,target=/m c\nCOPY y /\n", options)
    assert sorted(result.refs[""].extras) == names


async def test_a_stage_asks_for_itself_to_be_listed() -> None:
    result = await solved(
        "FROM busybox AS a\nARG BUILDKIT_SBOM_SCAN_STAGE=yes,true\nFROM busybox AS b\n"
        "ARG BUILDKIT_SBOM_SCAN_STAGE=true\nRUN b\nFROM scratch\nCOPY --from=a x /\nCOPY --from=b x /\n"
    )
    assert list(result.refs[""].extras) == ["b"]
