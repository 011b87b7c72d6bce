"""What a container, an image or a registry is called and says does not steer the terminal of who looks at it."""

from __future__ import annotations

import contextlib
import io
import json
import shlex
import sqlite3
import subprocess
import sys
import tarfile
import threading
import unicodedata
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from support.daemons import Daemon
from support.needs import need
from support.terminal import Person

pytestmark = need("root", "busybox", "overlay", "namespaces")

FORGED = "FORGED"
#: A title, colours, the C1 form of the same, text that runs backwards, line ends of four kinds.
EVIL = f"x\x1b]0;title\x07\x1b[31m\x9b31m\u202egnp.exe\u2066\n{FORGED} a\r{FORGED} b\u2028{FORGED} c\x85{FORGED}\x7f"


def check(*outputs: str) -> None:
    """Nothing steers, and no line is another's."""
    for text in outputs:
        bad = [letter for letter in text if letter not in "\n\t" and unicodedata.category(letter) in ("Cc", "Cf", "Zl")]
        assert not bad, text
        assert not any(line.startswith(FORGED) for line in text.split("\n")), text


@pytest.fixture(scope="module")
def evil(daemon: Daemon, busybox: str) -> Iterator[str]:
    """A container that says bad things wherever it can, of an image that does so too, on such a network."""
    labels = {"bad": EVIL, EVIL: "bad"}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo(f"etc/{FORGED}\x1b")
        archive.addfile(member)
    change = {"fromSrc": "-", "repo": "evil", "tag": "1", "message": EVIL}
    answer = daemon.request(
        "POST", "/images/create", buffer.getvalue(), headers={"Content-Type": "application/x-tar"}, **change
    )
    assert answer.status == 200, answer.body
    body = {"Name": "evil", "Labels": labels, "Options": {"com.docker.network.bridge.name": "br-evil"}}
    assert daemon.request("POST", "/networks/create", body).status == 201
    script = 'touch "/tmp/$1" "/tmp/$(printf "\\377")"; sleep 1000; :'
    body = {
        "Image": busybox, "Labels": labels, "Env": [f"BAD={EVIL}"], "Hostname": "evil", "NetworkMode": "evil",
        "Cmd": ["sh", "-c", script, "sh", EVIL],
        "Healthcheck": {"Test": ["CMD", "echo", EVIL]}, "HostConfig": {"Annotations": {"bad": EVIL}},
    }  # fmt: skip
    made = daemon.request("POST", "/containers/create", body, name="evil")
    assert made.status == 201, made.body
    assert daemon.request("POST", "/containers/evil/start").status == 204
    daemon.cli("exec", "evil", "sh", "-c", "until test -e $(printf '/tmp/\\377'); do sleep 0.1; done", check=True)
    daemon.request("POST", "/commit", {}, container="evil", repo="evil", tag="2", comment=EVIL, author=EVIL)
    yield "evil"
    daemon.request("DELETE", "/containers/evil", force=True)
    daemon.request("DELETE", "/networks/evil")
    for tag in ("1", "2"):
        daemon.request("DELETE", f"/images/evil:{tag}", force=True)


@pytest.mark.parametrize(
    "line",
    [
        "ps", "ps --no-trunc", "ps -a --no-trunc --size", "ps --format {{.ID}}", "ps --format json",
        "ps --format table",
        "ps --no-trunc --format table|{{.Names}}\\t{{.Labels}}\\t{{.Command}}\\t{{.Label.\"bad\"}}",
        "diff evil", "diff --format table evil", "top evil", "explain evil", "inspect evil", "network inspect evil",
        "explain --format json evil",
        "inspect --format {{json|.}} evil", "images", "images --tree", "images --digests", "history evil:1",
        "history --no-trunc evil:2", "image inspect evil:2", "image layers --no-trunc",
        "image layers --no-trunc evil:2",
        "image tree", "image tree --format json", "image diff evil:1 evil:2",
        "network ls --format table|{{.Name}}\\t{{.Labels}}",
        "network trace evil outside", "port audit", "system df -v", "info", "version", "events --since 1h --until 1s",
        "system fsck --verbose", "stats --no-stream", "events --since 1h --until 1s --format json",
    ],
)  # fmt: skip
def test_no_listing_steers_the_terminal(daemon: Daemon, evil: str, line: str) -> None:
    words = [word.replace("|", " ").replace('."bad"', ' "bad"') for word in line.split()]
    done = daemon.cli(*words)
    assert done.returncode == 0 or line.startswith("network trace"), done.stderr
    assert done.stdout
    check(done.stdout, done.stderr)


def test_a_template_is_for_programs_but_for_people_at_a_terminal(daemon: Daemon, evil: str) -> None:
    words = ["inspect", "--format", '\x1b[1m{{index .Config.Labels "bad"}}{{"\\n"}}end', evil]
    assert EVIL in daemon.cli(*words).stdout.replace("\r\n", "\n"), "a program gets what it is"
    person = Person([*command(daemon), *words], daemon.environment)
    assert person.leaves() == 0
    seen = person.seen.decode()
    assert seen.startswith("\x1b[1mx\\x1b]0;title"), "the person's own colours are the person's"
    assert "\x07" not in seen
    assert "\u202e" not in seen


def test_one_look_at_the_statistics_leaves_what_is_on_the_terminal(daemon: Daemon, evil: str) -> None:
    person = Person([*command(daemon), "stats", "--no-stream", evil], daemon.environment)
    assert person.leaves() == 0
    assert person.seen.startswith(b"CONTAINER ID")


def command(daemon: Daemon) -> list[str]:
    """The command line of the command itself."""
    return [sys.executable, "-m", "wherry.cli.main", "-H", daemon.host]


@pytest.mark.parametrize(
    "words",
    [
        ["rm", EVIL], ["stop", EVIL], ["inspect", EVIL], ["logs", EVIL], ["network", "rm", EVIL], ["rmi", EVIL],
        ["run", EVIL],
        ["run", "--name", EVIL, "x"], ["run", f"--{EVIL}", "x"], ["run", "--restart", EVIL, "x"], [EVIL],
        ["network", EVIL],
        ["network", "create", EVIL], ["rename", EVIL, "x"], ["exec", EVIL, "x"], ["-H", EVIL, "ps"], ["ps", "-f", EVIL],
        ["ps", "--format", "{{" + EVIL], ["port", EVIL], ["tag", EVIL, "x"], ["run", "-v", EVIL, "x"],
        ["load", "-i", EVIL],
        ["run", "--env-file", EVIL, "x"], ["help", EVIL], ["kill", "-s", EVIL, "evil"], ["events", "--since", EVIL],
        ["run", "--cidfile", f"/nonexistent/{EVIL}", "x"], ["start", EVIL], ["wait", EVIL], ["-D", "logs", EVIL],
    ],
)  # fmt: skip
def test_no_complaint_about_what_was_typed_steers_it(daemon: Daemon, words: list[str]) -> None:
    done = daemon.cli(*words)
    assert "Traceback" not in done.stderr or words[0] == "-D"
    check(done.stdout, done.stderr)


def test_a_network_from_before_names_were_narrow_goes_on_and_steers_nothing(own_daemon: Daemon) -> None:
    assert own_daemon.request("POST", "/networks/create", {"Name": f"n`touch {FORGED}`"}).status == 400
    assert own_daemon.request("POST", "/networks/create", {"Name": "odd", "Driver": "dummy"}).status == 201
    own_daemon.stop()
    name = f"n`id`\x1b[31m\n{FORGED}"
    with contextlib.closing(sqlite3.connect(own_daemon.data_root / "wherry.db")) as database, database:
        kept = next(row for (row,) in database.execute("select definition from networks") if b'"odd"' in row)
        changed = json.dumps({**json.loads(kept), "name": name}).encode()
        database.execute("update networks set definition = ? where definition = ?", (changed, kept))
    own_daemon.start()
    for words in (["network", "ls"], ["network", "inspect", name], ["network", "rm", name]):
        done = own_daemon.cli(*words, check=True)
        assert FORGED in done.stdout
        check(done.stdout, done.stderr)
    assert own_daemon.cli("network", "inspect", name).returncode == 1


def test_no_path_forges_a_line_of_the_daemon_s_log(own_daemon: Daemon) -> None:
    own_daemon.request("GET", f"/containers/x%0A{FORGED}%1b%5B31m/json")
    own_daemon.request("GET", f"/{FORGED}%0d%0a{FORGED}")
    log = own_daemon.log_tail(1000)
    assert FORGED in log, "the daemon runs with --debug, which logs requests"
    check(log)


class _Liar(BaseHTTPRequestHandler):
    """A registry that refuses everything in bad words."""

    def do_GET(self) -> None:
        if self.path == "/v2/":
            self._answer(200, {})
        elif self.path.startswith("/v1/search"):
            self._answer(
                200, {"results": [{"name": f"a{EVIL}", "description": EVIL, "star_count": 1}], "num_results": 1}
            )
        else:
            self._answer(403, {"errors": [{"code": "DENIED", "message": EVIL, "detail": EVIL}]})

    do_HEAD = do_POST = do_PUT = do_GET

    def _answer(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def liar() -> Iterator[str]:
    """Its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Liar)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_no_reason_of_a_registry_steers_it(daemon: Daemon, busybox: str, liar: str) -> None:
    daemon.cli("tag", busybox, f"{liar}/a:1", check=True)
    try:
        for words in (["pull", "{}/a:2"], ["push", "{}/a:1"], ["run", "{}/a:3"], ["manifest", "inspect", "{}/a:4"]):
            done = daemon.cli(*(word.format(liar) for word in words))
            assert done.returncode != 0
            assert FORGED in done.stderr, "the reason is told, all of it"
            check(done.stdout, done.stderr)
        done = daemon.cli("search", "--no-trunc", f"{liar}/a")
        assert "title" in done.stdout, done.stderr
        check(done.stdout, done.stderr)
    finally:
        daemon.cli("rmi", f"{liar}/a:1")


@pytest.mark.parametrize(
    "line",
    ["ps", "images -q", "info", "explain evil", "inspect evil", "rm x", "exec evil echo x", "run --rm IMAGE echo x"],
)
def test_a_full_or_closed_output_is_told_in_a_sentence(daemon: Daemon, evil: str, busybox: str, line: str) -> None:
    typed = shlex.join([*command(daemon), *line.replace("IMAGE", busybox).split()])

    def run(redirection: str) -> subprocess.CompletedProcess[str]:
        shell = ["sh", "-c", f"{typed} {redirection}"]
        return subprocess.run(shell, env=daemon.environment, capture_output=True, text=True, check=False)

    missing = 1 if line.startswith("rm") else 0
    full = run(">/dev/full")
    assert missing or (full.returncode, full.stderr) == (1, "write /dev/stdout: no space left on device\n")
    closed = run(">&- <&-")
    assert "Traceback" not in closed.stderr
    assert closed.returncode == missing, closed.stderr
