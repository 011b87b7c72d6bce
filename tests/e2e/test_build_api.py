"""``POST /build`` with the clients that use it: docker without BuildKit, docker-py, aiodocker, requests by hand."""

from __future__ import annotations

import base64
import gc
import gzip
import io
import json
import lzma
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import aiodocker
import docker
import pytest
from docker.errors import BuildError

from support import unixhttp
from support.archives import member, tar
from support.daemons import Daemon
from support.needs import need
from support.processes import processes, wait_for
from support.registry_process import Registry, running

pytestmark = [
    need("root", "busybox"),
    pytest.mark.usefixtures("clean", "busybox"),
    # docker-py leaves sockets of finished streams to the garbage collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SLEEP = f"sleep {100_000 + os.getpid()}"  # nobody else's
DOCKERFILE = """\
FROM busybox AS base
ARG WORD=nothing
ENV GREETING=hello
COPY a /dir/
RUN echo "$GREETING $WORD" > /said
FROM base
LABEL one=two
CMD ["cat", "/said"]
"""


@pytest.fixture
def classic(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    """The daemon, and a docker command that uses what Docker had before BuildKit."""
    monkeypatch.setenv("DOCKER_BUILDKIT", "0")
    return daemon


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Any]:
    client = docker.DockerClient(base_url=daemon.host, version="auto", timeout=120)
    yield client
    client.close()
    gc.collect()  # while the warning about them is ignored


def context(root: Path, dockerfile: str = DOCKERFILE, **files: str) -> Path:
    """A directory with a Dockerfile and files."""
    root.mkdir(exist_ok=True)
    (root / "Dockerfile").write_text(dockerfile)
    for name, text in {"a": "content", **files}.items():
        (root / name).write_text(text)
    return root


def archive(dockerfile: str, *members: Any) -> bytes:
    """A context as an archive."""
    return tar([member("Dockerfile", dockerfile.encode()), *members])


def built(daemon: Daemon, body: bytes, **query: Any) -> list[dict[str, Any]]:
    """The messages of a build that is asked for by hand."""
    answer = daemon.request("POST", "/build", body, **query)
    assert answer.status == 200, answer.body
    return [json.loads(line) for line in answer.body.splitlines()]


def text_of(messages: list[dict[str, Any]]) -> str:
    """What is shown."""
    return "".join(message.get("stream", "") for message in messages)


def said_by(daemon: Daemon, image: str, *command: str) -> str:
    """The output of a container."""
    return daemon.docker("run", "--rm", "--network=none", image, *command, check=True).stdout


# --- the docker command ---------------------------------------------------------------------------


def test_the_docker_command_builds_and_the_next_time_uses_the_cache(classic: Daemon, tmp_path: Path) -> None:
    words = ("build", "-t", "built:1", "--build-arg", "WORD=you", str(context(tmp_path / "context")))
    first = classic.docker(*words, check=True).stdout
    assert "Successfully tagged built:1" in first
    assert "Using cache" not in first
    assert said_by(classic, "built:1") == "hello you\n"
    second = classic.docker(*words, check=True).stdout
    assert "Using cache" in second
    assert " ---> Running in" not in second
    (tmp_path / "context" / "a").write_text("other")
    third = classic.docker(*words, check=True).stdout
    assert " ---> Running in" in third
    assert said_by(classic, "built:1", "cat", "/dir/a") == "other"


def test_the_docker_command_says_what_failed(classic: Daemon, tmp_path: Path) -> None:
    done = classic.docker("build", str(context(tmp_path / "c", "FROM busybox\nRUN echo why && exit 7\n")))
    assert done.returncode == 7
    assert "why" in done.stdout
    assert "returned a non-zero code: 7" in done.stderr
    done = classic.docker("build", str(context(tmp_path / "c", "FROM busybox\nFORM x\n")))
    assert done.returncode == 1
    assert "unknown instruction: FORM" in done.stderr


def test_the_docker_command_has_ignored_files_and_other_dockerfiles(classic: Daemon, tmp_path: Path) -> None:
    root = context(tmp_path / "c", "FROM scratch\n", secret="x", other="FROM busybox\nCOPY . /all\n")
    (root / ".dockerignore").write_text("secret\n")
    classic.docker("build", "-f", str(root / "other"), "-t", "built:1", str(root), check=True)
    assert "secret" not in said_by(classic, "built:1", "ls", "/all").split()


def test_a_quiet_build_prints_the_id(classic: Daemon, tmp_path: Path) -> None:
    printed = classic.docker("build", "-q", str(context(tmp_path / "c")), check=True).stdout.strip()
    assert printed == classic.docker("inspect", "--format={{.Id}}", printed, check=True).stdout.strip()


def test_a_dockerfile_may_come_by_standard_input(classic: Daemon) -> None:
    classic.docker("build", "-t", "built:1", "-", input="FROM busybox\nRUN echo 1 > /one\n", check=True)
    assert said_by(classic, "built:1", "cat", "/one") == "1\n"


def test_options_of_a_build_reach_its_steps(classic: Daemon, tmp_path: Path) -> None:
    lines = "RUN cat /etc/hosts && ulimit -n && df -k /dev/shm | tail -1 && ls /sys/class/net\n"
    words = ("--add-host", "there:1.2.3.4", "--ulimit", "nofile=123:456", "--shm-size", "1m", "--network", "none")
    root = context(tmp_path / "c", f"FROM busybox AS one\n{lines}FROM busybox AS two\nRUN false\n")
    shown = classic.docker("build", *words, "--target", "one", "--label", "x=y", "-t", "built:1", str(root), check=True)
    assert "1.2.3.4" in shown.stdout
    assert "123" in shown.stdout.splitlines()
    assert " 1024 " in shown.stdout
    assert "eth0" not in shown.stdout
    labels = classic.docker("inspect", "--format={{.Config.Labels.x}}", "built:1", check=True).stdout
    assert labels == "y\n"


# --- libraries ------------------------------------------------------------------------------------


def test_docker_py_builds(client: Any, tmp_path: Path) -> None:
    root = context(tmp_path / "c")
    image, messages = client.images.build(path=str(root), tag="built:1", buildargs={"WORD": "py"}, rm=True)
    assert "built:1" in image.tags
    assert image.labels == {"one": "two"}
    assert any("Successfully built" in one.get("stream", "") for one in messages)
    assert client.containers.run("built:1", remove=True, network_mode="none") == b"hello py\n"


def test_docker_py_is_told_that_a_step_failed(client: Any) -> None:
    with pytest.raises(BuildError, match="returned a non-zero code: 3") as caught:
        client.images.build(fileobj=io.BytesIO(b"FROM busybox\nRUN echo why; exit 3\n"))
    assert any("why" in one.get("stream", "") for one in caught.value.build_log)


async def test_aiodocker_builds(daemon: Daemon) -> None:
    async with aiodocker.Docker(url=daemon.host) as client:
        body = io.BytesIO(gzip.compress(archive("FROM busybox\nRUN echo 1 > /one\n")))
        messages = await client.images.build(fileobj=body, encoding="gzip", tag="built:1")
        assert any("Successfully tagged built:1" in one.get("stream", "") for one in messages)
        assert (await client.images.inspect("built:1"))["Config"]


# --- by hand --------------------------------------------------------------------------------------


@pytest.mark.parametrize("compress", [bytes, gzip.compress, lzma.compress])
def test_any_compression_of_a_context_will_do(daemon: Daemon, compress: Callable[[bytes], bytes]) -> None:
    body = compress(archive("FROM busybox\nCOPY x /x\n", member("x", b"1")))
    messages = built(daemon, body, t="built:1")
    assert [one["aux"]["ID"] for one in messages if "aux" in one] == [
        daemon.request("GET", "/images/built:1/json").json["Id"]
    ]


def test_several_names_several_stages_and_the_classic_limits(daemon: Daemon) -> None:
    body = archive("FROM busybox AS x\nRUN echo 1 > /1\nFROM busybox\nCOPY --from=x /1 /2\n")
    query = "?t=built:1&t=built:2&memory=268435456&cpushares=512&rm=1&forcerm=1"
    answer = daemon.request("POST", f"/build{query}", body)
    assert answer.status == 200
    assert answer.body.count(b"Successfully tagged") == 2
    assert said_by(daemon, "built:2", "cat", "/2") == "1\n"


def test_errors_before_the_first_line_have_a_status(daemon: Daemon) -> None:
    for status, words, body, query in (
        (400, "unknown instruction", archive("FROM busybox\nFORM x\n"), {}),
        (400, "failed to read dockerfile", archive("FROM busybox\n"), {"dockerfile": "nothing"}),
        (400, "the Dockerfile cannot be empty", archive(""), {}),
        (400, "must be lowercase", archive("FROM busybox\n"), {"t": "UPPER"}),
        (500, "ends too early", gzip.compress(archive("FROM busybox\n"))[:40], {}),
    ):
        answer = daemon.request("POST", "/build", body, **query)
        assert (answer.status, words in answer.message) == (status, True), answer.body


def test_what_is_remembered_of_a_step_is_not_what_another_context_has(daemon: Daemon) -> None:
    for content in (b"1", b"2", b"1"):
        built(daemon, archive("FROM busybox\nCOPY x /x\nRUN cp /x /y\n", member("x", content)), t="built:1")
        assert said_by(daemon, "built:1", "cat", "/y") == content.decode()


def test_a_client_that_goes_ends_its_build(daemon: Daemon) -> None:
    body = archive(f"FROM busybox\nRUN echo begun; {SLEEP}\n")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(120)
        connection.connect(daemon.socket)
        head = f"POST /build?nocache=1 HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        seen = b""
        while b"begun\\n" not in seen:
            piece = connection.recv(65536)
            assert piece, seen
            seen += piece
    wait_for(lambda: not processes(SLEEP))


def test_a_build_is_cancelled_by_its_id(daemon: Daemon) -> None:
    found: list[Any] = []
    body = archive(f"FROM busybox\nRUN {SLEEP}\n")
    thread = threading.Thread(
        target=lambda: found.append(daemon.request("POST", "/build", body, buildid="mine", nocache=1))
    )
    thread.start()
    wait_for(lambda: processes(SLEEP))
    assert daemon.request("POST", "/build/cancel", id="mine").status == 200
    thread.join(120)
    assert b"errorDetail" in found[0].body
    assert not processes(SLEEP)


def test_the_cache_is_pruned(daemon: Daemon) -> None:
    built(daemon, archive("FROM busybox\nRUN echo 1 > /pruned\n"))
    pruned = daemon.request("POST", "/build/prune", all=1).json
    assert pruned["CachesDeleted"]
    again = built(daemon, archive("FROM busybox\nRUN echo 1 > /pruned\n"))
    assert "Using cache" not in text_of(again)


def test_contexts_come_from_elsewhere(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "context.tar.gz").write_bytes(
        gzip.compress(archive("FROM busybox\nCOPY x /x\n", member("x", b"tar")))
    )
    (tmp_path / "served" / "file").write_text("FROM busybox\nRUN echo file > /x\n")
    with served(tmp_path / "served") as address:
        for name, content in (("context.tar.gz", "tar"), ("file", "file\n")):
            built(daemon, b"", remote=f"{address}/{name}", t="built:1")
            assert said_by(daemon, "built:1", "cat", "/x") == content
        (tmp_path / "c").mkdir()
        (tmp_path / "c" / "Dockerfile").write_text(f"FROM busybox\nADD {address}/file /x\n")
        daemon.docker("info", check=True)
        built(daemon, archive(f"FROM busybox\nADD --chmod=600 {address}/file /x\n"), t="built:2")
        assert said_by(daemon, "built:2", "stat", "-c", "%a", "/x") == "600\n"


@pytest.mark.skipif(shutil.which("git") is None, reason="the program git is not here")
def test_contexts_come_from_git(daemon: Daemon, tmp_path: Path) -> None:
    repository = context(tmp_path / "repository", "FROM busybox\nCOPY a /x\n")
    who = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    for words in (("init", "-q", "-b", "main"), ("add", "-A"), (*who, "commit", "-qm", "x"), ("update-server-info",)):
        subprocess.run(["git", *words], cwd=repository, check=True, capture_output=True)
    with served(tmp_path) as address:
        built(daemon, b"", remote=f"{address}/repository/.git#main", t="built:1")
    assert said_by(daemon, "built:1", "cat", "/x") == "content"


@pytest.mark.skipif(shutil.which("git") is None, reason="the program git is not here")
def test_a_context_from_elsewhere_has_a_date(daemon: Daemon, tmp_path: Path) -> None:
    text = 'FROM busybox\nARG SOURCE_DATE_EPOCH\nRUN echo "$SOURCE_DATE_EPOCH" > /x\n'
    repository = context(tmp_path / "repository", text)
    who = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    dated = {**os.environ, "GIT_COMMITTER_DATE": "1500000000 +0000"}
    for words in (("init", "-q", "-b", "main"), ("add", "-A"), (*who, "commit", "-qm", "x"), ("update-server-info",)):
        subprocess.run(["git", *words], cwd=repository, check=True, capture_output=True, env=dated)
    (tmp_path / "file").write_text(text)
    os.utime(tmp_path / "file", (1_400_000_000, 1_400_000_000))
    arguments = json.dumps({"SOURCE_DATE_EPOCH": "context"})
    with served(tmp_path) as address:
        for remote, moment, year in (("repository/.git#main", 1_500_000_000, 2017), ("file", 1_400_000_000, 2014)):
            built(daemon, b"", remote=f"{address}/{remote}", t="built:1", buildargs=arguments)
            assert said_by(daemon, "built:1", "cat", "/x") == f"{moment}\n"
            assert daemon.request("GET", "/images/built:1/json").json["Created"].startswith(str(year))
    built(daemon, archive(text), t="built:1", buildargs=arguments)
    assert said_by(daemon, "built:1", "cat", "/x") == "\n"


def header(value: Any) -> str:
    """Credentials as clients send them."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """A registry that asks for a name and a password."""
    bcrypt = pytest.importorskip("bcrypt")
    users = tmp_path / "users"
    users.write_text(f"me:{bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode()}\n")
    config = tmp_path / "registry.toml"
    config.write_text(f'root = "{tmp_path}/registry"\n[auth]\nmode = "basic"\nhtpasswd = "{users}"\n')
    with running("--config", str(config)) as started:
        yield started


def test_a_base_comes_from_a_registry_with_the_clients_credentials(daemon: Daemon, registry: Registry) -> None:
    name, me = f"{registry.address}/base:1", {"username": "me", "password": "secret"}
    request = partial(unixhttp.request, daemon.socket, "POST")
    built(daemon, archive("FROM busybox\nRUN echo remote > /where\n"), t=name)
    pushed = request(f"/images/{registry.address}/base/push", headers={"X-Registry-Auth": header(me)}, tag="1")
    assert b"errorDetail" not in pushed.body
    assert daemon.request("DELETE", f"/images/{name}").status == 200
    body = archive(f"FROM {name}\nRUN cat /where\n")
    refused = request("/build", body, nocache=1)
    assert refused.status in (400, 404), refused.body
    assert f"failed to resolve source metadata for {name}: no basic auth credentials" in refused.message
    told = {"X-Registry-Config": header({registry.address: me})}
    assert b"remote" in request("/build", body, headers=told, nocache=1).body
    # From now on it is here, and --pull asks the registry for what has changed.
    built(daemon, archive("FROM busybox\nRUN echo local > /where\n"), t=name)
    assert b"local" in request("/build", body, nocache=1).body
    assert b"remote" in request("/build", body, headers=told, nocache=1, pull=1).body


@contextmanager
def served(root: Path) -> Iterator[str]:
    """A web server over a directory."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_buildkits_messages_come_without_grpc(daemon: Daemon) -> None:
    from wherry.api.buildkit.proto.control_pb2 import StatusResponse  # noqa: PLC0415

    messages = built(daemon, archive("FROM busybox\nRUN echo $((40 + 2))\n"), version=2, nocache=1, t="built:1")
    traces = [
        StatusResponse.FromString(base64.b64decode(one["aux"]))
        for one in messages
        if one["id"] == "moby.buildkit.trace"
    ]
    assert b"".join(log.msg for trace in traces for log in trace.logs) == b"42\n"
    assert [vertex.name for trace in traces for vertex in trace.vertices if "RUN" in vertex.name]
    assert messages[-1] == {
        "id": "moby.image.id",
        "aux": {"ID": daemon.request("GET", "/images/built:1/json").json["Id"]},
    }
