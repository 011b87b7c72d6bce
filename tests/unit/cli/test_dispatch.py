"""What is typed finds its verb; what is wrong is told, with Docker's exit codes."""

from __future__ import annotations

import posix
import subprocess
import sys
from pathlib import Path

import pytest

from wherry.cli.dispatch import dispatch
from wherry.cli.errors import exit_code
from wherry.cli.verbs import GROUPS, VERBS, load

ROOT = Path(__file__).resolve().parents[3]
SEE = "See '{} --help'."
RUN = "[OPTIONS] IMAGE [COMMAND] [ARG...]"
MODULES = sorted({*VERBS.values(), *(one for group in GROUPS.values() for one in group.values())})


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(posix.environ, b"WHERRY_HOST", f"unix://{tmp_path}/nobody.sock".encode())
    monkeypatch.delenv("WHERRY_TLS_VERIFY", raising=False)


@pytest.mark.parametrize("module", MODULES)
def test_every_verb_has_help_and_flags_that_do_not_clash(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = load(module).COMMAND
    names = [flag.name for flag in command.flags]
    shorts = [flag.short for flag in command.flags if flag.short]
    assert len(set(names)) == len(names)
    assert len(set(shorts)) == len(shorts)
    assert all(flag.help and flag.help.removesuffix("...")[-1] != "." for flag in command.flags)
    if command.passes_on:
        return  # the help is another program's
    paths = [[verb] for verb in VERBS if VERBS[verb] == module]
    paths += [[group, verb] for group, verbs in GROUPS.items() for verb in verbs if verbs[verb] == module]
    path = paths[0]
    assert dispatch([*path, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"Usage:  wherry {' '.join(path)} ")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["run", "--foo"], 125, f"unknown flag: --foo\n\nUsage:  wherry run {RUN}\n\n{SEE.format('wherry run')}"),
        (["run", "-zz", "x"], 125, "unknown shorthand flag: 'z' in -zz"),
        (["run"], 1, "wherry: 'wherry run' requires at least 1 argument\n\nUsage:  wherry run"),
        (["tag", "a"], 1, "wherry: 'wherry tag' requires 2 arguments"),
        (["ps", "x"], 1, "wherry: 'wherry ps' accepts no arguments"),
        (["history", "a", "b"], 1, "wherry: 'wherry history' requires 1 argument"),
        (["foo"], 1, "wherry: unknown command: wherry foo\n\n" + SEE.format("wherry")),
        (["rnu"], 1, "wherry: unknown command: wherry rnu\nDid you mean 'run'?\n\n" + SEE.format("wherry")),
        (["swarm", "init"], 1, "wherry: there is no 'wherry swarm': wherry is no part of a swarm, and makes none"),
        (["image", "prun"], 1, "wherry: unknown command: wherry image prun\nDid you mean 'prune'?\n\nUsage:  wherry i"),
        (["run", "--memry=1", "x"], 125, "unknown flag: --memry\nDid you mean '--memory' or '--memory-swap'?\n\nUs"),
        (["--contxt=x"], 125, "unknown flag: --contxt\nDid you mean '--context'?\n\nUsage:  wherry [OPTIONS]"),
        (["-l", "loud", "ps"], 125, "unable to parse logging level: loud\n"),
        (["-c", "x", "-H", "unix:///y", "ps"], 1, "conflicting options: cannot specify both --host and --context\n"),
        (["-H", "ssh://u:p@box", "ps"], 1, 'invalid daemon address "ssh://u:p@box"'),
        (["container", "foo"], 1, "wherry: unknown command: wherry container foo"),
        (["--bar"], 125, "unknown flag: --bar"),
        (["run", "--pull", "foo", "x"], 125, "wherry: invalid pull option: 'foo': must be one of"),
        (["run", "-d", "-a", "stdout", "x"], 1, "conflicting options: cannot specify both --attach and --detach"),
        (["ps", "-H"], 125, "unknown shorthand flag: 'H' in -H"),
        (["-H", "a://b", "ps"], 1, 'invalid daemon address "a://b"'),
        (["completion", "tcsh"], 1, 'no completion for the shell "tcsh"'),
        (["container", "--bar"], 125, "unknown flag: --bar\n\nUsage:  wherry container\n\n"),
        (["container", "-x"], 125, "unknown shorthand flag: 'x' in -x"),
        (["run", "--platform", "foo", "x"], 125, 'wherry: error parsing specified platform: "foo": unknown operating'),
        (["pull", "--platform", "a/b/c/d", "x"], 1, '"a/b/c/d": cannot parse platform specifier: invalid argument\n'),
        (["history", "--platform", "linux/", "x"], 1, 'invalid platform: "" is an invalid component of "linux/"'),
        (["run", "--detach-keys", "foo", "x"], 125, "wherry: Invalid detach keys (foo) provided"),
        (["attach", "--detach-keys", "ctrl-1", "x"], 1, "Invalid detach keys (ctrl-1) provided"),
        (["run", "--dns", "x", "y"], 125, 'invalid argument "x" for "--dns" flag: IP address is not correctly'),
        (["run", "--mac-address", "x", "y"], 125, "wherry: x is not a valid mac address"),
        (["events", "--until", "foo"], 1, 'failed to parse value as time or duration: "foo"\n'),
        (["inspect", "-f", "{{", "x"], 64, "template parsing error: template: :1: unclosed action\n"),
        (["ps"], 1, "cannot connect to the wherry daemon at unix:///"),
        (["run", "x"], 125, "wherry: cannot connect to the wherry daemon at unix:///"),
        (["load", "-i", "/nonexistent"], 1, "open /nonexistent: no such file or directory"),
        (["inspect", "--type", "x", "y"], 1, 'unknown type: "x"'),
        (["tag", "a", "B"], 1, 'Error parsing reference: "B" is not a valid repository/tag'),
    ],
)  # fmt: skip
def test_misuse_is_told(words: list[str], code: int, message: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert dispatch(words) == code
    written = capfd.readouterr()
    assert written.err.startswith(message)
    assert written.out == ""


def test_the_version_needs_no_daemon(capsys: pytest.CaptureFixture[str]) -> None:
    assert dispatch(["--version"]) == 0
    assert capsys.readouterr().out.startswith("wherry version ")


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert dispatch([]) == dispatch(["help"]) == 0
    page = capsys.readouterr().out
    assert all(f"\n  {verb} " in page for verb in VERBS)
    assert dispatch(["system", "--help"]) == 0
    assert "shutdown" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("message", "code"),
    [('exec: "x": executable file not found in $PATH', 127), ('exec: "/x": stat /x: no such file or directory', 127),
     ("executable file `x` not found in $PATH: No such file or directory", 127),
     ('exec: "/etc": permission denied', 126), ('exec: "/etc": is a directory', 126), ("name is in use", 125)],
)  # fmt: skip
def test_exit_codes_follow_from_the_daemon_s_sentence_as_docker_has_it(message: str, code: int) -> None:
    assert exit_code(message) == code


def test_little_is_imported_for_a_run() -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from wherry.cli.dispatch import dispatch; "
        "from wherry.cli.commands.container import run; "
        "import wherry.cli.terminal.session, wherry.cli.terminal.signals, wherry.cli.flags.networks; "
        "import wherry.client.containers, wherry.client.codec, wherry.client.stdcopy; print(*sorted(sys.modules))"
    )
    command = [sys.executable, "-I", "-S", "-c", program, str(ROOT / "src")]
    modules = set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    costly = "argparse asyncio collections dataclasses enum functools http json re signal socket ssl subprocess typing"
    assert not modules & {*costly.split(), "wherry.errors"}
