"""Verbs that become a program of docker's: which one, with which environment, and what is said when there is none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from wherry.cli.daemon import plugins
from wherry.cli.daemon.plugins import environment_for, find_plugin
from wherry.cli.dispatch import dispatch
from wherry.client.address import TLSFiles, parse_host
from wherry.errors import InvalidInput

REPORT = f"""#!{sys.executable}
import json, os, sys
print(json.dumps([sys.argv[1:], {{k: v for k, v in os.environ.items() if k.startswith("DOCKER_")}}]))
sys.exit(7)
"""


def program(path: Path, text: str = REPORT) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(plugins, "FOLDERS", (str(tmp_path / "system"),))
    monkeypatch.setattr(plugins, "_search_path", lambda: [str(tmp_path / "site-packages")])


def test_dockers_folders_come_first_then_the_package_then_the_path(tmp_path: Path) -> None:
    assert find_plugin("compose") == ""
    program(tmp_path / "bin/docker-compose")  # a script: Compose 1, or a wrapper that loses the exit code
    assert find_plugin("compose") == ""
    found = [program(tmp_path / "bin/docker-compose", "\x7fELF")]
    assert find_plugin("compose") == found[-1]
    found.append(program(tmp_path / "site-packages/compose/docker-compose"))
    assert find_plugin("compose") == found[-1]
    found.append(program(tmp_path / "system/docker-compose"))
    assert find_plugin("compose") == found[-1]
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.json").write_text(json.dumps({"cliPluginsExtraDirs": [str(tmp_path / "extra")]}))
    found.append(program(tmp_path / "extra/docker-compose"))
    assert find_plugin("compose") == found[-1]
    found.append(program(tmp_path / "config/cli-plugins/docker-compose"))
    assert find_plugin("compose") == found[-1]
    os.chmod(found[-1], 0o644)
    assert find_plugin("compose") == found[-2]


def test_the_program_is_told_of_the_daemon_that_wherry_uses(tmp_path: Path) -> None:
    environment = {"A": "b", "DOCKER_HOST": "x", "DOCKER_CONTEXT": "y", "DOCKER_TLS_VERIFY": "1"}
    address = parse_host("/run/x.sock")
    assert environment_for(address, "", environment) == {"A": "b", "DOCKER_HOST": "unix:///run/x.sock"}
    assert environment_for(address, "mine", environment) == {"A": "b", "DOCKER_CONTEXT": "mine"}
    address = parse_host("tcp://box:1")
    address.tls = TLSFiles("/certs/ca.pem", "/certs/cert.pem", "/certs/key.pem")
    expected = {"DOCKER_HOST": "tcp://box:1", "DOCKER_TLS": "1", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/certs"}
    assert environment_for(address, "", environment) == {"A": "b", **expected}
    address.tls = TLSFiles("/certs/ca.pem", "/other/cert.pem", "/certs/key.pem")
    with pytest.raises(InvalidInput, match="in one folder"):
        environment_for(address, "", environment)


def run(*words: str, config: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DOCKER_CONFIG": str(config), "WHERRY_HOST": "unix:///nobody.sock"}
    command = [sys.executable, "-m", "wherry.cli.main", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_wherry_becomes_it_with_all_words_and_its_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    program(tmp_path / "cli-plugins/docker-buildx")
    done = run("buildx", "--help", "-x", "--", "y", config=tmp_path)
    assert done.returncode == 7, done.stderr
    assert json.loads(done.stdout) == [
        ["--help", "-x", "--", "y"],
        {"DOCKER_CONFIG": str(tmp_path), "DOCKER_HOST": "unix:///nobody.sock"},
    ]


def test_without_it_there_is_a_sentence_how_to_get_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dispatch(["compose", "up"]) == 1
    assert capsys.readouterr().err == (
        "Docker Compose is not installed ('pip install wherry[compose]' has it, or Docker's package "
        "docker-compose-plugin)\n"
    )
    assert dispatch(["buildx", "ls"]) == 1
    assert "Docker Buildx is not installed ('wherry build' does without" in capsys.readouterr().err
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.json").write_text("nothing")
    assert dispatch(["compose", "up"]) == 1
    assert f"cannot read {tmp_path}/config/config.json" in capsys.readouterr().err
