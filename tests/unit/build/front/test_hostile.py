"""Dockerfiles that are meant to harm: bounded, and refused with a sentence."""

from __future__ import annotations

import threading
from functools import partial
from types import ModuleType
from typing import Any

import pytest

from support.fake_gateway import FakeGateway, config, image_config, solved, steps
from wherry.build.dockerfile import globs
from wherry.build.front import bases, context, lint, named_contexts, options
from wherry.build.front import dockerfile as front
from wherry.build.front.budget import Budget
from wherry.build.model.errors import DockerfileError
from wherry.build.model.graph import ExecOp, FileOp
from wherry.errors import InvalidInput, TooLarge

TOO_MANY = "the dockerfile's stages and variables together are too many"


def numbered(template: str, count: int) -> str:
    """Lines with numbers, and the number behind each."""
    return "\n".join(template.format(number, number + 1) for number in range(count))


async def test_thousands_of_stages_upon_each_other_need_no_recursion() -> None:
    result = await solved("FROM busybox AS s0\n" + numbered("FROM s{} AS s{}\nRUN x", 800))
    assert len(steps(result)) == 801


async def test_thousands_of_stages_that_need_each_other_in_a_circle_are_refused() -> None:
    text = numbered("FROM scratch AS s{0}\nCOPY --from=s{1} / /", 800) + "\nFROM scratch AS s800\nCOPY --from=s0 / /"
    with pytest.raises(DockerfileError, match="circular dependency"):
        await solved(text)


async def test_a_fan_of_stages_is_one_graph() -> None:
    text = numbered("FROM busybox AS s{0}\nRUN {0}", 500) + "\nFROM scratch\n" + numbered("COPY --from=s{0} / /", 500)
    assert len(steps(await solved(text))) == 1 + 500 + 500  # one base


@pytest.mark.parametrize(
    "text",
    [
        f"FROM busybox\nENV A={'x' * 9000}\n" + numbered("ENV B{}=$A", 150),
        f"FROM busybox\nENV A={'x' * 9000}\n" + numbered("RUN {}", 150),
        "FROM busybox\nEXPOSE 0-20000",
        "FROM busybox AS s0\n" + numbered("ENV A{}=1", 300) + "\n" + numbered("FROM s{} AS s{}", 100),
        "FROM busybox AS s0\n" + numbered("ARG A{}=1", 300) + "\n" + numbered("FROM s{} AS s{}", 100),
        "FROM busybox AS s0\n" + numbered("LABEL A{}=1", 300) + "\n" + numbered("FROM s{} AS s{}", 100),
        "FROM busybox AS s0\n" + numbered("ARG A{}=1", 300) + "\n" + numbered("RUN {}", 100),
        f"FROM busybox\nENV A={'x' * 9000}\n" + numbered("RUN {} $A$A$A$A$A$A$A$A", 30),
        f"FROM busybox\nENV A={'x' * 9000}\n" + numbered("COPY a /{}$A", 60),
        f"ARG A={'x' * 9000}\n" + numbered("FROM busybox$A AS s{}", 150),
        f"ARG A={'x' * 9000}\n" + numbered("ARG B{}=$A", 150) + "\nFROM busybox",
    ],
    ids=[
        "variables",
        "steps",
        "ports",
        "inherited variables",
        "inherited arguments",
        "inherited labels",
        "history",
        "names",
        "paths",
        "bases",
        "global arguments",
    ],
)
async def test_what_adds_up_is_bounded(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "Budget", partial(Budget, 1_000_000))
    with pytest.raises(DockerfileError, match=TOO_MANY):
        await solved(text)


async def test_what_people_write_is_far_from_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "Budget", partial(Budget, 1_000_000))
    text = numbered("FROM busybox AS s{}\nENV A=1 B=2 C=3\nRUN 1\nRUN 2\nCOPY a b\nLABEL x=y\nEXPOSE 80-90", 50)
    await solved(text)


@pytest.mark.parametrize(
    "options",
    [
        {"add-hosts": ",".join(f"h{number}=10.0.0.1" for number in range(1000))},
        {"ulimit": ",".join(["nofile=1:2"] * 1000)},
        {"cgroup-parent": "/" + "x" * 30_000},
        {"hostname": "x" * 30_000},
        {"build-arg:http_proxy": "x" * 30_000},
        {"build-arg:BUILDKIT_CACHE_MOUNT_NS": "x" * 30_000},
    ],
    ids=lambda options: next(iter(options)),
)
async def test_options_that_are_in_each_step_count_in_each(
    options: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front, "Budget", partial(Budget, 1_000_000))
    text = "FROM busybox\n" + numbered("RUN --mount=type=cache,target=/c {}", 40)
    await solved(text)
    with pytest.raises(DockerfileError, match=TOO_MANY):
        await solved(text, options)


async def test_all_platforms_of_a_build_share_one_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "Budget", partial(Budget, 1_000_000))
    text = f"FROM busybox\nENV A={'x' * 9000}\n" + numbered("RUN {}", 30)
    await solved(text)
    with pytest.raises(DockerfileError, match=TOO_MANY):
        await solved(text, {"platform": "linux/amd64,linux/arm64,linux/386,linux/s390x,linux/ppc64le"})


async def test_patterns_of_all_platforms_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(globs, "WORK_LIMIT", 1_000_000)
    text = f"FROM busybox\nENV A={'x' * 9000}\n" + numbered("LABEL a{}=${{A#*bcdefghijk}}", 6)
    await solved(text)
    with pytest.raises(DockerfileError, match="patterns in substitutions take too long"):
        await solved(text, {"platform": "linux/amd64,linux/arm64,linux/386"})


async def test_what_a_client_sends_is_read_in_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, found = threading.get_ident(), {}

    def watched(module: ModuleType, name: str) -> None:
        original = getattr(module, name)

        def replacement(*arguments: Any) -> Any:
            found[f"{module.__name__.rpartition('.')[2]}.{name}"] = threading.get_ident() != loop
            return original(*arguments)

        monkeypatch.setattr(module, name, replacement)

    for module, name in (
        (context, "parse_ignore_file"), (named_contexts, "ignore_patterns"), (lint, "PatternMatcher"),
        (bases, "did_you_mean"), (front, "parse"), (options, "_hosts"),
    ):  # fmt: skip
        watched(module, name)
    files = {("local://src", ".dockerignore"): b"*.o", ("local://context", ".dockerignore"): b"*.o"}
    gateway = FakeGateway("FROM scratch\nCOPY --from=src a /\nCOPY --from=nothing a /", files=files)
    with pytest.raises(DockerfileError):
        await solved("", {"context:src": "local:src"}, gateway=gateway)
    assert len(found) == 6
    assert all(found.values()), found


async def test_a_dockerignore_has_no_more_patterns_than_are_matched() -> None:
    files = {("local://context", ".dockerignore"): b"a\n" * 10_001}
    with pytest.raises(InvalidInput, match=r"^failed to read \.dockerignore: too many patterns: 10000 are the most$"):
        await solved("", gateway=FakeGateway("FROM scratch\nCOPY . /", files=files))


def test_a_budget_ends() -> None:
    budget = Budget(100)
    budget.spend(52, 1)
    with pytest.raises(TooLarge):
        budget.spend(1)


async def test_a_history_is_shared_and_each_stage_has_its_own() -> None:
    text = "FROM busybox AS a\nENV X=1\nFROM a AS b\nENV Y=1\nFROM a"
    assert [one["created_by"] for one in config(await solved(text))["history"]] == ["ADD rootfs.tar /", "ENV X=1"]


async def test_triggers_do_not_beget_triggers() -> None:
    images = {"docker.io/library/busybox:latest": image_config(OnBuild=["COPY --from=busybox / /"] * 50)}
    gateway = FakeGateway("FROM busybox", images=images)
    assert len(steps(await solved("", gateway=gateway))) == 51
    assert len(gateway.resolved) == 1


@pytest.mark.parametrize(
    "trigger", ["FROM busybox", "ONBUILD RUN x", "RUN a\nRUN b", "", "NOPE x", "COPY --from=9 a b"]
)
async def test_a_wrong_trigger_of_a_base_is_an_error_at_its_from(trigger: str) -> None:
    images = {"docker.io/library/busybox:latest": image_config(OnBuild=[trigger])}
    with pytest.raises(DockerfileError) as caught:
        await solved("", gateway=FakeGateway("FROM scratch\nFROM busybox", images=images))
    assert caught.value.ranges[0].start_line == 2


async def test_no_path_leads_out() -> None:
    text = (
        "FROM busybox\nWORKDIR ../../..\nCOPY ../../../etc/shadow ../../../x/\n"
        "RUN --mount=target=../../m,source=../../../etc --mount=type=tmpfs,target=/../../t x\n"
        "COPY <<../../f ../\nx\n../../f"
    )
    found = list(steps(await solved(text)).values())
    run = next(one.op for one in found if isinstance(one.op, ExecOp))
    assert [(mount.target, mount.selector) for mount in run.mounts] == [("/", ""), ("/m", "/etc"), ("/t", "")]
    for one in found:
        if isinstance(one.op, FileOp):
            for action in one.op.actions:
                assert ".." not in repr(action)


async def test_text_that_is_no_text_is_kept() -> None:
    result = await solved(b"FROM scratch\nLABEL a=\xff\xfe\nCOPY <<EOF /f\n\xff\nEOF")
    assert result.refs[""].edge is not None


@pytest.mark.parametrize("reference", ["a" * 300, "a:b:c", "../a", "a@sha256:0", "-a", "a b"])
async def test_a_name_that_is_none_is_an_error(reference: str) -> None:
    with pytest.raises(InvalidInput):
        await solved(f"FROM {reference}")


async def test_a_long_command_is_not_the_name_of_its_step() -> None:
    result = await solved(f"FROM busybox\nENV A={'x' * 60000}\nRUN {'$A' * 5000}")
    assert max(map(len, steps(result))) < 20_000


@pytest.mark.parametrize("text", ["ENV A=a\0", "RUN a\0", "COPY a\0 b", "WORKDIR \0", "RUN <<EOF\n\0\nEOF"])
async def test_a_character_that_ends_text_for_the_kernel_is_refused(text: str) -> None:
    with pytest.raises(DockerfileError, match="NUL character"):
        await solved(f"FROM busybox\n{text}")


async def test_a_base_with_such_a_character_in_a_variable_is_refused() -> None:
    images = {"docker.io/library/busybox:latest": image_config(Env=["A=\0"])}
    with pytest.raises(DockerfileError, match="NUL character"):
        await solved("", gateway=FakeGateway("FROM busybox\nRUN x", images=images))
