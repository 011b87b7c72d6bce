"""What a shell is told when somebody presses TAB."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from wherry.cli.completion import candidates
from wherry.cli.completion.scripts import SCRIPTS
from wherry.cli.completion.values import FILTERS
from wherry.cli.context import Context
from wherry.cli.dispatch import load

CONTAINERS = [
    {"Names": ["/web"], "State": "running"},
    {"Names": ["/worker"], "State": "exited"},
    {"Names": ["/frozen"], "State": "paused"},
]
NETWORKS = [{"Name": name} for name in ("bridge", "net-1", "n`id`", "a b", "$(id)", "-x", "\x1b]0;x\a", "n\u202e")]
IMAGES = [{"RepoTags": ["alpine:3", "host:5000/a/b:1"]}, {"RepoTags": None}]


def complete(*words: str) -> list[str]:
    """Complete the last word where a daemon answers."""

    def listed(found: list[dict[str, Any]]) -> SimpleNamespace:
        return SimpleNamespace(list=lambda **_: found)

    client = SimpleNamespace(containers=listed(CONTAINERS), networks=listed(NETWORKS), images=listed(IMAGES))
    return candidates(list(words), cast("Context", SimpleNamespace(client=client)))


def test_verbs_and_flags_are_completed() -> None:
    assert complete("sto") == ["stop"]
    assert "container" in complete("")
    assert complete("system", "sh") == ["shutdown"]
    assert complete("help", "sto") == ["stop"]
    assert complete("run", "--memory-s") == ["--memory-swap", "--memory-swappiness"]
    assert complete("container", "run", "--memory-swapp") == ["--memory-swappiness"]
    assert complete("completion", "b") == ["bash"]
    assert complete("--tlsv") == ["--tlsverify"]
    assert complete("nothing", "") == complete("container", "nothing", "") == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("stop ", ["frozen", "web"]),
        ("start ", ["worker"]),
        ("unpause ", ["frozen"]),
        ("rm -f w", ["web", "worker"]),
        ("rm web w", ["web", "worker"]),
        ("logs --tail 5 w", ["web", "worker"]),
        ("logs web ", []),
        ("exec -it w", ["web"]),
        ("exec -e A=1 web ", []),
        ("run al", ["alpine:3"]),
        ("run -it --name x al", ["alpine:3"]),
        ("run alpine:3 ", []),
        ("run alpine:3 --pul", []),
        ("rm -- -", []),
        ("network connect n", ["net-1"]),
        ("network connect net-1 wo", ["worker"]),
        ("network trace ho", ["host"]),
        ("port a", ["audit"]),
        ("-l w", ["warn"]),
        ("context use d", ["default"]),
        ("build --output type=l", ["type=local,dest="]),
        ("save -o t", []),
        ("run --mount type=v", ["type=volume,"]),
        ("run --pull ", ["always", "missing", "never"]),
        ("run --pull=a", ["--pull=always"]),
        ("run --restart on", ["on-failure", "on-failure:"]),
        ("run --network n", ["net-1", "none"]),
        ("run --network container:w", ["container:web"]),
        ("run --ipc container:", ["container:frozen", "container:web"][1:]),
        ("run --name ", []),
        ("run --volumes-from wo", ["worker"]),
        ("run --cap-add CAP_NET_A", ["CAP_NET_ADMIN"]),
        ("kill -s KI", ["KILL"]),
        ("kill -sKILL w", ["web"]),
        ("ps -f sta", ["status="]),
        ("ps --filter status=ru", ["status=running"]),
        ("ps --filter=status=ru", ["--filter=status=running"]),
        ("ps -af name=wo", ["name=worker"]),
        ("ps --format ", ["json", "table"]),
        ("inspect --format ", ["json"]),
        ("inspect --type im", ["image"]),
        ("events --filter type=n", ["type=network"]),
        ("-H unix:///x --debug --tlsc", ["--tlscacert", "--tlscert"]),
        ("-H ", []),
        ("network ls --filter driver=d", ["driver=dummy"]),
        ("network create --driver m", ["macvlan"]),
        ("push ho", ["host:5000/a/b:1"]),
    ],
)
def test_values_and_names_are_completed_where_they_belong(line: str, expected: list[str]) -> None:
    assert complete(*line.split(" ")) == expected


def test_what_a_shell_or_a_terminal_would_read_as_more_than_a_word_is_not_offered() -> None:
    assert complete("network", "rm", "") == ["bridge", "net-1"]
    assert complete("network", "rm", "n`") == []


def test_filters_are_completed_where_there_are_some() -> None:
    for module in FILTERS:
        assert any(flag.name == "filter" for flag in load(module).COMMAND.flags), module


@pytest.mark.parametrize("shell", sorted(SCRIPTS))
def test_a_completion_script_is_one_that_its_shell_can_read(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    subprocess.run([shell, "-n"], input=SCRIPTS[shell], text=True, check=True)


@pytest.mark.parametrize(
    ("words", "asked", "answer", "given"),
    [
        (["./wherry", " st"], ["st"], "start", "start"),
        (["./wherry", " run", " alpine", ":", "3"], ["run", "alpine:3"], "alpine:3.1", "3.1"),
        (["./wherry", " run", " alpine", ":"], ["run", "alpine:"], "alpine:3.1", "3.1"),
        (["./wherry", " ps", " --format", "=", "j"], ["ps", "--format=j"], "--format=json", "json"),
        (["./wherry", " ps", " -f", " status", "=", "ex"], ["ps", "-f", "status=ex"], "status=exited", "exited"),
        (["./wherry", " ps", "  "], ["ps", ""], "a", "a"),
    ],
)
def test_bash_asks_the_command_that_was_typed_for_whole_words(
    words: list[str], asked: list[str], answer: str, given: str, tmp_path: Path
) -> None:
    command = tmp_path / "wherry"
    command.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" >asked\necho '{answer}'\n")
    command.chmod(0o755)
    listed = " ".join(f"'{word.strip()}'" for word in words)
    script = f"""{SCRIPTS["bash"]}
        COMP_WORDBREAKS=$' \\t\\n"\\'@><=;|&(:'
        COMP_WORDS=({listed}); COMP_CWORD={len(words) - 1}; COMP_LINE='{"".join(words)}'
        _wherry ./wherry
        echo "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "--norc"], input=script, cwd=tmp_path, env={"PATH": "/bin"}, capture_output=True, text=True, check=True
    )
    assert (tmp_path / "asked").read_text().splitlines() == ["__complete", *asked], done.stderr
    assert done.stdout == f"{given}\n"
