"""``wherry build logs``, ``ls``, ``inspect``: what they show, and when these words are directories."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from wherry.cli import dispatch
from wherry.cli.context import Context
from wherry.cli.flags.parser import parse
from wherry.cli.verbs import load
from wherry.client.builds import Builds
from wherry.client.client import Client

RECORD = {
    "Ref": "0123456789abcdef", "Status": "completed", "Names": ["docker.io/library/web:1"],
    "Image": f"sha256:{'a' * 64}",
    "Error": "", "Created": 10**9, "Completed": 3 * 10**9, "Steps": 4, "CompletedSteps": 4, "Warnings": 0,
    "Options": {"target": "x"},
}  # fmt: skip


def said(kind: str, **members: object) -> dict[str, Any]:
    return {"id": "wherry.build", "aux": {"type": kind, **members}}


def answer(monkeypatch: pytest.MonkeyPatch, *messages: dict[str, Any]) -> list[tuple[str, bool]]:
    """A daemon that knows one build, whose log is this."""
    asked: list[tuple[str, bool]] = []

    def logs(_: Builds, ref: str, *, follow: bool = False) -> Iterable[dict[str, Any]]:
        asked.append((ref, follow))
        return iter(messages)

    monkeypatch.setattr(Builds, "logs", logs)
    monkeypatch.setattr(Builds, "list", lambda _: [RECORD, {**RECORD, "Names": [], "Image": "", "Status": "error"}])
    monkeypatch.setattr(Builds, "inspect", lambda _, ref: {**RECORD, "Asked": ref})
    monkeypatch.setattr(Context, "client", Client())
    return asked


def wherry(module: str, *words: str) -> int:
    verb = load(module)
    options, arguments = parse(verb.COMMAND.flags, words)
    return verb.run(Context(None, start=False), options, arguments)


def test_a_log_has_every_line_on_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = "".join(f"line {number}\n" for number in range(5000))
    asked = answer(
        monkeypatch,
        said("vertex", digest="a", name="[1/1] RUN x", started=10**9),
        said("log", vertex="a", stream=1, data=f"{lines}\x1b[2Jrest", at=2 * 10**9),
        said("build", **{**RECORD, "Error": "it broke"}),
    )
    assert wherry("builder.logs") == 0
    written = capsys.readouterr()
    assert written.out.splitlines()[1:] == [*(f"#1 1.000 line {number}" for number in range(5000)), "#1 rest"]
    assert written.err == "ERROR: failed to build: it broke\n"
    assert wherry("builder.logs", "-f", "web:1", "--progress", "rawjson") == 0
    assert asked == [("^0", False), ("web:1", True)]
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_builds_are_rows(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    answer(monkeypatch)
    assert wherry("builder.ls", "--format", "{{.ID}} {{.Name}} {{.Status}} {{.Duration}} {{.Image}}") == 0
    assert capsys.readouterr().out == ("0123456789ab web:1 completed 2.0s aaaaaaaaaaaa\n0123456789ab x error 2.0s \n")
    assert wherry("builder.ls", "-q", "--no-trunc") == 0
    assert capsys.readouterr().out == "0123456789abcdef\n" * 2
    assert wherry("builder.inspect", "--format", "{{.Asked}}") == 0
    assert capsys.readouterr().out == "^0\n"


@pytest.mark.parametrize("word", ["logs", "ls", "inspect"])
def test_a_verb_behind_build_is_a_directory_where_one_has_a_dockerfile(
    word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(dispatch, "execute", lambda path, module, words, options: run.append((module, words)) or 0)
    monkeypatch.chdir(tmp_path)
    dispatch.dispatch(["build", word, "x"])
    (tmp_path / word).mkdir()
    dispatch.dispatch(["build", word])
    (tmp_path / word / "Dockerfile").touch()
    dispatch.dispatch(["build", word])
    dispatch.dispatch(["builder", word])
    dispatch.dispatch(["build", "-q", word])
    (tmp_path / word / "Dockerfile").unlink()
    dispatch.dispatch(["build", f"./{word}"])
    assert run == [
        (f"builder.{word}", ["x"]),
        (f"builder.{word}", []),
        ("image.build", [word]),
        (f"builder.{word}", []),
        ("image.build", ["-q", word]),
        ("image.build", [f"./{word}"]),
    ]
