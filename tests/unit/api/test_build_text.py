"""A build's progress as the classic builder's lines."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from wherry.api.classic.registry_config import credentials_for, parse
from wherry.api.classic.text import ClassicText, failure, result
from wherry.build.model.errors import VertexFailed
from wherry.build.model.progress import LogProgress, Progress, TransferProgress, VertexProgress, WarningProgress
from wherry.build.model.session import Credentials
from wherry.errors import NotFound
from wherry.oci.digest import Digest

IDS = {name: Digest.from_bytes(name.encode()) for name in ("base", "run", "copy", "internal")}


def vertex(which: str, name: str, **more: Any) -> VertexProgress:
    return VertexProgress(digest=IDS[which], name=name, **more)


def lines(*events: Progress) -> list[str]:
    text = ClassicText()
    return [message["stream"] for event in events for message in text.take(event)]


def test_steps_are_numbered_in_the_order_in_which_they_begin() -> None:
    announced = [
        vertex("internal", "[internal] load build context"),
        vertex("base", "[build 1/3] FROM docker.io/library/busybox"),
        vertex("run", "[build 2/3] RUN make all"),
        vertex("copy", "[3/3] COPY a b"),
    ]
    shown = lines(
        *announced,
        vertex("internal", "[internal] load build context", started=1, completed=2),
        vertex("base", "[build 1/3] FROM docker.io/library/busybox", started=1),
        vertex("base", "[build 1/3] FROM docker.io/library/busybox", started=1, completed=2),
        vertex("copy", "[3/3] COPY a b", started=1, completed=1, cached=True),
        vertex("run", "[build 2/3] RUN make all", started=3),
        LogProgress(vertex=IDS["run"], stream=1, data=b"hello\n", at=4),
        vertex("run", "[build 2/3] RUN make all", started=3, completed=5),
        vertex("run", "[build 2/3] RUN make all", started=3, completed=5),
    )
    assert shown == [
        "Step 1/3 : FROM docker.io/library/busybox\n",
        f" ---> {IDS['base'].short}\n",
        "Step 2/3 : COPY a b\n",
        " ---> Using cache\n",
        f" ---> {IDS['copy'].short}\n",
        "Step 3/3 : RUN make all\n",
        f" ---> Running in {IDS['run'].short}\n",
        "hello\n",
        f" ---> {IDS['run'].short}\n",
    ]


def test_a_step_that_fails_has_no_result() -> None:
    shown = lines(vertex("run", "[1/1] RUN false", started=1), vertex("run", "[1/1] RUN false", completed=2, error="x"))
    assert shown == ["Step 1/1 : RUN false\n", f" ---> Running in {IDS['run'].short}\n"]


def test_a_character_may_come_in_two_pieces_and_what_is_none_is_shown_as_such() -> None:
    pieces = ["\N{SNOWMAN}".encode()[:1], "\N{SNOWMAN}".encode()[1:], b"\xff\n"]
    assert lines(*(LogProgress(vertex=IDS["run"], stream=1, data=piece, at=1) for piece in pieces)) == [
        "\N{SNOWMAN}",
        "\ufffd\n",
    ]


@pytest.mark.parametrize("name", ["[internal] x", "exporting to image", "[x RUN", "[1/x] RUN", "[] y", ""])
def test_what_is_no_instruction_is_not_shown(name: str) -> None:
    assert lines(vertex("run", name, started=1, completed=2)) == []


def test_an_instruction_of_several_lines_is_one_line() -> None:
    assert lines(vertex("run", "[1/1] RUN <<EOF\na\nEOF", started=1))[0] == "Step 1/1 : RUN <<EOF a EOF\n"


def test_a_warning_is_a_line() -> None:
    assert lines(WarningProgress(vertex=IDS["run"], level=1, short="a\nb")) == ["[Warning] a b\n"]


def test_layers_that_are_pulled_are_shown_as_with_docker_pull() -> None:
    text = ClassicText()
    event = TransferProgress(id="downloading 0123", vertex=IDS["base"], name="downloading", current=1, total=2)
    assert text.take(event) == [{"status": "Downloading", "progressDetail": {"current": 1, "total": 2}, "id": "0123"}]
    ended = TransferProgress(id="extracting 0123", vertex=IDS["base"], name="extracting", completed=1)
    assert text.take(ended) == [{"status": "Pull complete", "id": "0123"}]
    assert text.take(TransferProgress(id="x", vertex=IDS["base"], name="transferring context")) == []


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
