"""What a daemon calls its things is not carried out by the shell of somebody who presses TAB."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from support.terminal import Person
from wherry.cli.completion.scripts import SCRIPTS

START = {
    "bash": ["--norc", "--noprofile", "-i"],
    "zsh": ["-f", "-i"],
    "fish": ["--no-config", "-i"],
}
SET_UP = {
    "bash": "PS1='ready> '; source completion",
    "zsh": "PS1='ready> '; autoload -Uz compinit; compinit -u -d dump; source ./completion",
    "fish": "function fish_prompt; echo 'ready> '; end; source completion",
}


def hostile_command(directory: Path, answers: list[str]) -> None:
    """A ``wherry`` that offers what a name would have to be to do harm."""
    (directory / "answers").write_text("".join(f"{one}\n" for one in answers))
    command = directory / "wherry"
    command.write_text(f'#!/bin/sh\necho "$*" >>"{directory}/asked"\ncat "{directory}/answers"\n')
    command.chmod(0o755)


@pytest.mark.parametrize("shell", sorted(SCRIPTS))
@pytest.mark.parametrize("single", [True, False])
def test_no_shell_carries_out_what_it_is_offered(shell: str, single: bool, tmp_path: Path) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"no {shell} here")
    harm = ["n`touch pwned`", "n$(touch pwned)", "n;touch pwned", "n${x[$(touch pwned)]}", "n'$(touch pwned)'"]
    hostile_command(tmp_path, harm[:1] if single else harm)
    (tmp_path / "completion").write_text(SCRIPTS[shell])
    path = f"{tmp_path}:{os.environ['PATH']}"
    environment = {"PATH": path, "HOME": str(tmp_path), "TERM": "xterm", "LC_ALL": "C.UTF-8", "HISTFILE": "/dev/null"}
    person = Person([program, *START[shell]], environment)
    person.types(f"cd {tmp_path}; {SET_UP[shell]}; echo he''re\n".encode())
    person.sees(b"here\r\n")
    person.sees(b"ready> ")
    person.types(b"wherry network rm n\t\t")
    person.sees(b"pwned")  # it is shown, so the shell has done with it all that it does
    person.hangs_up()
    assert "__complete network rm n" in (tmp_path / "asked").read_text()
    assert not (tmp_path / "pwned").exists()
