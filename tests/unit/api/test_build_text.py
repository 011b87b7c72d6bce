"""A build's progress as the classic builder's lines."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import pytest

from wherry.api.classic.registry_config import credentials_for, parse
from wherry.api.classic.text import ClassicText, failure, result
from wherry.build.model.errors import VertexFailed
from wherry.build.model.progress import LogProgress, Progress, TransferProgress, VertexProgress, WarningProgress
from wherry.build.model.request import PlannedStep
from wherry.build.model.session import Credentials
from wherry.errors import NotFound
from wherry.oci.digest import Digest

IDS = {name: Digest.from_bytes(name.encode()) for name in ("base", "run", "copy", "internal")}


def vertex(which: str, name: str, **more: Any) -> VertexProgress:
    return VertexProgress(digest=IDS[which], name=name, **more)


def step(text: str, which: str = "", stage: int = 0, **more: Any) -> PlannedStep:
    keyword = text.split(maxsplit=1)[0].upper()
    return PlannedStep(text, keyword, stage, IDS.get(which), **({"changes": bool(which)} | more))


def lines(*events: Progress, steps: Sequence[PlannedStep] = (), failed: bool = False, **options: Any) -> list[str]:
    """What is said: of the events, and at the end."""
    text = ClassicText(**options)
    text.plan(steps)
    said = [message["stream"] for event in events for message in text.take(event)]
    return [*said, *(message["stream"] for message in (text.fail() if failed else text.end("sha256:" + "ab" * 32)))]


def short(which: str) -> str:
    return IDS[which].short


STAGES = (
    step("ARG A=1", stage=-1),
    step("FROM busybox AS build", "base"),
    step("ENV X=1", "base", changes=False),
    step("RUN make all", "run"),
    step("FROM scratch", stage=1),
    step("COPY --from=build a b", "copy", stage=1),
    step("CMD x", "copy", stage=1, changes=False),
)


def test_steps_are_told_in_the_order_of_the_dockerfile_however_they_end() -> None:
    shown = lines(
        vertex("internal", "[internal] load build context", started=1, completed=2),
        vertex("copy", "[3/3] COPY a b", started=1, completed=1, cached=True),
        vertex("base", "[build 1/3] FROM docker.io/library/busybox", started=1),
        vertex("run", "[build 2/3] RUN make all", started=3),
        LogProgress(vertex=IDS["run"], stream=1, data=b"hello\n", at=4),
        vertex("run", "[build 2/3] RUN make all", started=3, completed=5),
        vertex("base", "[build 1/3] FROM docker.io/library/busybox", started=1, completed=2),
        LogProgress(vertex=IDS["internal"], stream=1, data=b"of no step\n", at=4),
        steps=STAGES,
    )
    env = Digest.from_bytes(f"{short('base')} ENV X=1".encode()).short
    assert shown == [
        "Step 1/7 : ARG A=1\n",
        "Step 2/7 : FROM busybox AS build\n",
        f" ---> {short('base')}\n",
        "Step 3/7 : ENV X=1\n",
        f" ---> Running in {env}\n",
        f"Removing intermediate container {env}\n",
        f" ---> {env}\n",
        "Step 4/7 : RUN make all\n",
        f" ---> Running in {short('run')}\n",
        "hello\n",
        f"Removing intermediate container {short('run')}\n",
        f" ---> {short('run')}\n",
        "Step 5/7 : FROM scratch\n",
        " ---> \n",
        "Step 6/7 : COPY --from=build a b\n",
        " ---> Using cache\n",
        f" ---> {short('copy')}\n",
        "of no step\n",
        "Step 7/7 : CMD x\n",
        " ---> Using cache\n",
        " ---> abababababab\n",
    ]


def test_output_is_told_while_a_step_runs_and_errors_are_red() -> None:
    text = ClassicText(removes=False)
    text.plan(STAGES[1:4])
    for event in (vertex("base", "", started=1, completed=2), vertex("run", "", started=3)):
        list(text.take(event))
    output = LogProgress(vertex=IDS["run"], stream=2, data=b"no\n", at=4)
    assert list(text.take(output)) == [{"stream": "\033[91mno\n\033[0m"}]
    list(text.take(vertex("run", "", started=3, completed=4)))
    assert list(text.end("")) == [{"stream": f" ---> {short('run')}\n"}]


def test_what_nobody_looked_at_comes_from_the_cache() -> None:
    """A later step that begins says that all is there that it is made of."""
    text = ClassicText()
    text.plan(STAGES)
    begun = vertex("copy", "", started=1, inputs=(IDS["run"],))
    for event in (vertex("run", "", inputs=(IDS["base"],)), vertex("copy", "", inputs=(IDS["run"],))):
        assert [message["stream"] for message in text.take(event)] in ([], ["Step 1/7 : ARG A=1\n"])
    shown = [message["stream"] for message in text.take(begun)]
    assert shown[0] == "Step 2/7 : FROM busybox AS build\n"
    assert shown[shown.index("Step 4/7 : RUN make all\n") + 1] == " ---> Using cache\n"
    assert shown[-1] == "Step 6/7 : COPY --from=build a b\n"


def test_a_step_that_is_the_same_as_another_one_comes_from_the_cache() -> None:
    stages = [(step("FROM busybox", "base", stage), step("RUN x", "run", stage)) for stage in (0, 1)]
    ended = (vertex(which, "", started=1, completed=1) for which in ("base", "run"))
    shown = lines(*ended, steps=[*stages[0], *stages[1]])
    assert shown[-5:] == [
        "Step 3/4 : FROM busybox\n", f" ---> {short('base')}\n", "Step 4/4 : RUN x\n", " ---> Using cache\n",
        " ---> abababababab\n",
    ]  # fmt: skip


def test_triggers_are_part_of_the_step_that_they_are_of() -> None:
    steps = [step("FROM base", "base"), step("RUN one", "run", trigger=True), step("COPY two", "copy", trigger=True)]
    shown = lines(
        *(vertex(which, "", started=1, completed=1) for which in ("base", "run", "copy")),
        steps=[*steps, step("USER me", "copy", changes=False)],
    )
    assert shown[:5] == [
        "Step 1/2 : FROM base\n",
        "# Executing 2 build triggers\n",
        f" ---> Running in {short('run')}\n",
        f"Removing intermediate container {short('run')}\n",
        f" ---> {short('copy')}\n",
    ]
    assert shown[5] == "Step 2/2 : USER me\n"


def test_a_step_that_fails_has_no_result_and_none_behind_it_is_told_of() -> None:
    shown = lines(
        vertex("copy", "", started=1),
        LogProgress(vertex=IDS["copy"], stream=1, data=b"of a step whose turn does not come\n", at=4),
        vertex("base", "", started=1, completed=1),
        vertex("run", "", started=1),
        vertex("run", "", started=1, completed=2, error="x"),
        steps=STAGES,
        failed=True,
    )
    assert shown[-2:] == ["Step 4/7 : RUN make all\n", f" ---> Running in {short('run')}\n"]


def test_much_output_of_a_later_step_is_told_before_its_turn() -> None:
    text = ClassicText()
    text.plan(STAGES)
    piece = LogProgress(vertex=IDS["run"], stream=1, data=bytes(12 << 20), at=4)
    list(text.take(vertex("run", "", started=1)))
    assert list(text.take(piece)) == []
    said = [message["stream"] for message in text.take(piece)]
    assert said[:2] == ["Step 4/7 : RUN make all\n", f" ---> Running in {short('run')}\n"]
    assert [len(one) for one in said[2:]] == [12 << 20, 12 << 20]
    assert [message["stream"] for message in text.take(piece)] == ["\0" * (12 << 20)]


def test_arguments_that_nothing_declares_are_named() -> None:
    [said] = result("", [], ("A", "B"))
    assert said == {"stream": "[Warning] One or more build-args [A B] were not consumed\n"}


def test_a_character_may_come_in_two_pieces_and_what_is_none_is_shown_as_such() -> None:
    pieces = ["\N{SNOWMAN}".encode()[:1], "\N{SNOWMAN}".encode()[1:], b"\xff\n"]
    assert lines(*(LogProgress(vertex=IDS["run"], stream=1, data=piece, at=1) for piece in pieces)) == [
        "\N{SNOWMAN}",
        "\ufffd\n",
    ]


def test_an_instruction_of_several_lines_is_one_line() -> None:
    assert lines(steps=[step("RUN <<EOF\na\nEOF", "run")])[0] == "Step 1/1 : RUN <<EOF a EOF\n"


def test_a_warning_is_a_line() -> None:
    assert lines(WarningProgress(vertex=IDS["run"], level=1, short="a\nb")) == ["[Warning] a b\n"]


def test_layers_that_are_pulled_are_shown_as_with_docker_pull() -> None:
    text = ClassicText()
    event = TransferProgress(id="downloading 0123", vertex=IDS["base"], name="downloading", current=1, total=2)
    assert list(text.take(event)) == [
        {"status": "Downloading", "progressDetail": {"current": 1, "total": 2}, "id": "0123"}
    ]
    ended = TransferProgress(id="extracting 0123", vertex=IDS["base"], name="extracting", completed=1)
    assert list(text.take(ended)) == [{"status": "Pull complete", "id": "0123"}]
    assert list(text.take(TransferProgress(id="x", vertex=IDS["base"], name="transferring context"))) == []


def test_the_end_is_what_docker_py_and_compose_search_for() -> None:
    assert result(f"sha256:{'ab' * 32}", ["docker.io/library/a:1", "localhost:5000/b:2"]) == [
        {"aux": {"ID": f"sha256:{'ab' * 32}"}},
        {"stream": "Successfully built abababababab\n"},
        {"stream": "Successfully tagged a:1\n"},
        {"stream": "Successfully tagged localhost:5000/b:2\n"},
    ]
    assert result("", []) == []


def test_a_command_that_fails_is_told_of_in_the_classic_builders_words() -> None:
    sentence = 'process "/bin/sh -c exit 7" did not complete successfully: exit code: 7'
    error = VertexFailed(sentence, vertex=IDS["run"], exit_code=7)
    said = "The command '/bin/sh -c exit 7' returned a non-zero code: 7"
    assert failure(error, sentence, 1) == {"errorDetail": {"code": 7, "message": said}, "error": said}
    assert failure(error, sentence, 2)["error"] == sentence
    assert failure(NotFound("x"), "x", 1) == {"errorDetail": {"message": "x"}, "error": "x"}


def test_a_command_that_fails_is_told_of_as_it_is_written() -> None:
    sentence = r'process "/bin/sh -c echo \"a\\nb\"\t\x1b\u200b" did not complete successfully: exit code: 1'
    error = VertexFailed(sentence, vertex=IDS["run"], exit_code=1)
    said = failure(error, sentence, 1)["error"]
    assert said == "The command '/bin/sh -c echo \"a\\nb\"\t\x1b\u200b' returned a non-zero code: 1"


def test_what_has_no_files_is_judged_by_the_stage_that_it_comes_from() -> None:
    steps = [step("FROM busybox", "base"), step("RUN x", "run"), step("FROM 0", "run", 1, changes=False)]
    shown = lines(
        vertex("base", "", started=1, completed=1),
        vertex("run", "", started=1, completed=1, cached=True),
        steps=[*steps, step("ENV a=b", "run", 1, changes=False)],
    )
    assert shown[-3:-1] == ["Step 4/4 : ENV a=b\n", " ---> Using cache\n"]


def header(value: Any) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


def test_credentials_are_found_by_the_registrys_host() -> None:
    known = parse(header({
        "https://index.docker.io/v1/": {"username": "me", "password": "p"},
        "localhost:5000": {"auth": base64.b64encode(b"you:q:r").decode()},
        "example.com": {"identitytoken": "t"},
        "nothing": None,
    }))  # fmt: skip
    for name in ("docker.io", "registry-1.docker.io", "index.docker.io"):
        assert credentials_for(known, name) == Credentials("me", "p")
    assert credentials_for(known, "localhost:5000") == Credentials("you", "q:r")
    assert credentials_for(known, "EXAMPLE.com") == Credentials(token="t")
    assert credentials_for(known, "nothing") is None


@pytest.mark.parametrize("text", ["", "x", "e30", header([]), header({"a": 1}), header(None), header("x"), "\xff" * 10])
def test_a_header_that_is_none_is_no_credentials(text: str) -> None:
    assert parse(text) == {}
