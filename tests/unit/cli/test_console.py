"""What is printed for people steers no terminal and can be read back; nothing is printed but through one place."""

from __future__ import annotations

import ast
import io
import json
import posix
import random
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

import wherry.cli
from wherry.cli.console import can_draw, printable, write, write_page
from wherry.cli.output.container_row import quoted
from wherry.cli.output.table import align, render
from wherry.docker.gotemplate.printing import go_json
from wherry.legible import Legible, in_json, lines

CLI = Path(wherry.cli.__file__).parent
ROOT = CLI.parents[2]
_CODE = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|(\\))")


def read_back(text: str) -> str:
    """What was shown, as it was."""

    def one(found: re.Match[str]) -> str:
        byte, short, long, _ = found.groups()
        if byte:
            return chr(int(byte, 16)) if int(byte, 16) < 0x80 else chr(0xDC00 + int(byte, 16))
        return chr(int(short or long, 16)) if short or long else "\\"

    return _CODE.sub(one, text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain text, ünïcödé, 日本語, 👩\u200d💻", "plain text, ünïcödé, 日本語, 👩\u200d💻"),
        ("\x1b]0;x\a", r"\x1b]0;x\x07"),
        ("a\nb\tc\rd\x7f", r"a\x0ab\x09c\x0dd\x7f"),
        ("\x9b31m", r"\u009b31m"),
        ("\u202eabc\u2066\u200b\ufeff", r"\u202eabc\u2066\u200b\ufeff"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("\udcff\ud800", r"\xff\ud800"),
        ("\U000e0041", r"\U000e0041"),
        (r"C:\dir\users \n [a-z]\.txt", r"C:\dir\users \n [a-z]\.txt"),
        (r"\x1b \\ \u202e", r"\\x1b \\\ \\u202e"),
        ("\\\x1b", r"\\\x1b"),
    ],
)
def test_what_steers_is_shown_and_other_text_stays(text: str, expected: str) -> None:
    assert printable(text) == expected
    assert read_back(printable(text)) == text
    assert printable(printable(text)) == printable(text)


def test_whatever_is_shown_is_harmless_and_can_be_read_back() -> None:
    chance = random.Random(7)
    letters = "\\\\\\xuU0123abcdefn\x1b\n\r\t\x9b\u202e\u2028\udc80\udcff\ud800\U000e0001é日 "
    for _ in range(5000):
        text = "".join(chance.choices(letters, k=chance.randrange(12)))
        harmless = printable(text)
        assert not any(unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") for letter in harmless), text
        assert read_back(harmless) == text


def test_everything_in_a_value_is_shown_its_keys_and_methods_too() -> None:
    value = printable({"a\n": ["\x1b", 1, None], "f": lambda name: f"{name}\n"})
    assert value["a\\x0a"] == ["\\x1b", 1, None]
    assert value["f"]("x") == "x\\x0a"
    assert isinstance(value["f"]("x"), Legible)


def test_a_cell_stays_in_its_line_and_is_shown_once() -> None:
    assert align([("A", "B"), ("a\nb", "\\x1b")]) == "A         B\na\\x0ab    \\\\x1b\n"
    row = {"Command": quoted('sh -c "\x1b\n\\"'), "Label": lambda name: f"{name}\t"}
    assert render([row], ("Command",), {"Command": "C"}, "") == 'C\n"sh -c \\"\\x1b\\n\\\\\\""\n'
    assert render([row], (), {"Label": "L"}, 'table \x1b[1m{{.Label "x"}}') == "\x1b[1mx\n\x1b[1mx\\x09\n"


def test_json_says_the_same_without_steering() -> None:
    value = {"k\u202e": "\x1b\x9b\n\u2028\ud800\U000e0001é\x7f"}
    text = go_json(value)
    assert text == in_json(text)
    assert json.loads(text) == value
    assert "é" in text
    assert "\u202e" not in text
    assert "\x9b" not in text


def test_an_error_of_several_lines_is_told_from_ours() -> None:
    assert lines("first\nsecond\x1b\r\n") == "first\n  | second\\x1b\n  | "


def test_values_are_shown_and_a_page_is_looked_at_once_more(capsys: pytest.CaptureFixture[str]) -> None:
    write("{}: {}\n", "a\nb", 3)
    write_page("a\tb\n\x1b[31m")
    assert capsys.readouterr().out == "a\\x0ab: 3\na\tb\n\\x1b[31m"


def test_nothing_of_the_command_line_prints_but_the_one_place() -> None:
    for path in CLI.rglob("*.py"):
        if path.name == "console.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in (
                    "print", "sys.stdout.write", "sys.stderr.write", "sys.stdout.buffer.write", "out.write",
                ), f"{path}:{node.lineno}"  # fmt: skip


def test_words_of_ours_are_constants_that_values_are_put_into() -> None:
    for path in CLI.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("write", "write_error"):
                assert isinstance(node.args[0], ast.Constant), f"{path}:{node.lineno}"


# --- what cannot be written


def wherry_process(*words: str, output: str) -> tuple[int, str]:
    """Run the command with its standard output redirected, in a shell's words."""
    line = f'"$0" -I -S "$1" "${{@:2}}" {output}'
    done = subprocess.run(
        ["bash", "-c", line, sys.executable, str(CLI / "entry.py"), *words],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["ps", "--help"], ["completion", "bash"]])
def test_what_cannot_be_written_is_told_in_a_sentence(words: list[str]) -> None:
    assert wherry_process(*words, output=">/dev/full") == (1, "write /dev/stdout: no space left on device\n")


@pytest.mark.parametrize("words", [["--help"], ["ps", "--help"]])
def test_what_our_caller_closed_is_dev_null(words: list[str]) -> None:
    assert wherry_process(*words, output=">&- <&-") == (0, "")


def test_complaints_that_cannot_be_written_leave_the_exit_code() -> None:
    assert wherry_process("nonsense", output="2>/dev/full") == (1, "")
    assert wherry_process("nonsense", output="2>&- >&- <&-") == (1, "")


def test_nobody_reads_any_more() -> None:
    assert wherry_process("--help", output="| true; exit ${PIPESTATUS[0]}")[0] in (0, 141)


def test_a_character_set_without_a_letter_gets_its_code() -> None:
    line = (
        "import sys; sys.stdout.reconfigure(encoding='latin-1'); "
        "from wherry.cli.console import write; write('{}', '…é')"
    )
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, check=True, cwd=ROOT / "src")
    assert done.stdout == b"\\u2026\xe9"


@pytest.mark.parametrize(
    ("term", "terminal", "draws"),
    [(b"xterm", True, True), (None, True, True), (b"dumb", True, False), (b"", True, False), (b"xterm", False, False)],
)
def test_lines_are_written_over_where_that_can_be_done(
    monkeypatch: pytest.MonkeyPatch, term: bytes | None, terminal: bool, draws: bool
) -> None:
    if term is None:
        monkeypatch.delitem(posix.environ, b"TERM", raising=False)
    else:
        monkeypatch.setitem(posix.environ, b"TERM", term)
    out = io.StringIO()
    monkeypatch.setattr(out, "isatty", lambda: terminal)
    assert can_draw(out) is draws
