"""docker-py and aiodocker drive wherry as they drive Docker."""

from __future__ import annotations

import asyncio
import gc
import io
import tarfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiodocker
import docker
import pytest
from docker.errors import APIError, ContainerError, ImageNotFound, NotFound

from support.daemons import Daemon
from support.needs import need

pytestmark = [
    need("root", "busybox"),
    pytest.mark.usefixtures("clean"),
    # docker-py leaves sockets of finished streams to the garbage collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

LABELS = {"a": "b"}


@pytest.fixture
def client(daemon: Daemon, busybox: str) -> Iterator[Any]:
    client = docker.DockerClient(base_url=daemon.host, version="auto", timeout=60)
    yield client
    client.close()
    gc.collect()  # while the warning about them is ignored


def run(client: Any, command: str, **options: Any) -> Any:
    return client.containers.run("busybox", ["sh", "-c", command], network_mode="none", **options)


def test_it_negotiates_the_version(client: Any) -> None:
    assert client.ping()
    assert client.version()["Version"]
    assert client.info()["OSType"] == "linux"


def test_it_runs_a_container_and_gets_its_output(client: Any) -> None:
    assert run(client, "echo hello", remove=True) == b"hello\n"


def test_it_is_told_that_a_command_failed(client: Any) -> None:
    with pytest.raises(ContainerError) as caught:
        run(client, "echo why >&2; exit 3", remove=True)
    assert caught.value.exit_status == 3
    assert b"why" in caught.value.stderr


def test_it_gets_the_output_of_a_container_that_is_removed_by_itself(client: Any) -> None:
    """It starts first, and asks for the log, the terminal and the exit code then."""
    assert run(client, "echo hello", auto_remove=True) == b"hello\n"
    with pytest.raises(ContainerError) as caught:
        run(client, "exit 3", auto_remove=True)
    assert caught.value.exit_status == 3


def test_it_is_told_how_a_container_ended_that_is_removed_by_itself(client: Any) -> None:
    """As Ansible's docker_container asks; whoever was told may use the name again."""
    for _ in range(3):
        container = run(client, "exit 4", auto_remove=True, detach=True, name="again")
        assert container.wait()["StatusCode"] == 4
        with suppress(NotFound):
            container.wait(condition="removed")


def test_a_container_that_nobody_asks_for_is_removed_by_itself(client: Any) -> None:
    since = int(time.time())
    container = run(client, "true", auto_remove=True, detach=True)
    filters = {"container": container.id, "event": "destroy"}
    assert next(client.events(since=since, until=since + 60, decode=True, filters=filters))["Action"] == "destroy"
    with pytest.raises(NotFound):
        container.reload()


def test_it_walks_a_container_through_its_life(client: Any) -> None:
    script = "trap 'exit 5' TERM; echo ready; while :; do sleep 0.1; done"
    container = run(client, script, detach=True, name="life", labels=LABELS)
    assert next(container.logs(stream=True)) == b"ready\n"
    container.reload()
    assert (container.status, container.name, container.labels["a"]) == ("running", "life", "b")
    container.pause()
    container.reload()
    assert container.status == "paused"
    container.unpause()
    container.rename("renamed")
    assert client.containers.get("renamed").id == container.id
    found = client.containers.list(filters={"label": "a=b", "status": "running"})
    assert [one.id for one in found] == [container.id]
    container.stop(timeout=5)
    assert container.wait()["StatusCode"] == 5
    container.start()
    container.restart(timeout=0)
    container.kill()
    assert container.wait()["StatusCode"] == 137
    container.remove()
    with pytest.raises(NotFound, match="No such container: renamed"):
        client.containers.get("renamed")


def test_it_executes_in_a_container(client: Any) -> None:
    container = run(client, "sleep 600", detach=True)
    assert container.exec_run("echo hi") == (0, b"hi\n")
    code, (out, error) = container.exec_run(["sh", "-c", "echo out; echo err >&2; exit 7"], demux=True)
    assert (code, out, error) == (7, b"out\n", b"err\n")
    assert container.exec_run("id -u", user="1000").output == b"1000\n"
    assert container.exec_run("pwd", workdir="/tmp").output == b"/tmp\n"
    assert b"".join(container.exec_run("cat /etc/passwd", stream=True).output).startswith(b"root:")
    assert container.exec_run("nosuch").exit_code == 127


def test_it_talks_through_an_execs_socket(client: Any) -> None:
    container = run(client, "sleep 600", detach=True)
    _, stream = container.exec_run("cat", stdin=True, tty=True, socket=True)
    raw = stream._sock
    raw.sendall(b"round trip\n")
    seen = b""
    while b"round trip\r\nround trip\r\n" not in seen:
        received = raw.recv(100)
        assert received, seen
        seen += received
    stream.close()


def test_it_talks_to_a_container_through_its_socket(client: Any) -> None:
    container = client.containers.create("busybox", "cat", stdin_open=True, tty=False, network_mode="none")
    stream = container.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
    container.start()
    stream._sock.sendall(b"ping\n")
    assert stream._sock.recv(100) == b"\x01\x00\x00\x00\x00\x00\x00\x05ping\n"
    stream.close()
    container.kill()


def test_it_reads_logs_in_all_ways(client: Any) -> None:
    container = run(client, "for i in 1 2 3; do echo out $i; echo err $i >&2; done", detach=True)
    container.wait()
    assert container.logs(stderr=False) == b"out 1\nout 2\nout 3\n"
    assert container.logs(stdout=False, tail=1) == b"err 3\n"
    assert b"".join(container.logs(stream=True, follow=True, stderr=False)) == b"out 1\nout 2\nout 3\n"
    stamped = container.logs(timestamps=True, stderr=False, tail=1)
    assert stamped.endswith(b"Z out 3\n")
    assert container.logs(since=4_000_000_000) == b""


def test_it_sees_statistics_processes_and_changes(client: Any) -> None:
    container = run(client, "echo new > /tmp/new; sleep 600", detach=True)
    container.exec_run("true")
    sample = container.stats(stream=False)
    assert sample["memory_stats"]["usage"] > 0
    assert sample["precpu_stats"]["cpu_usage"]["total_usage"] > 0
    stream = container.stats(decode=True)
    assert [next(stream)["id"], next(stream)["id"]] == [container.id] * 2
    assert any("sleep 600" in " ".join(row) for row in container.top()["Processes"])
    assert {"Path": "/tmp/new", "Kind": 1} in container.diff()


def test_it_exports_a_file_system(client: Any) -> None:
    container = run(client, "echo content > /made", detach=True)
    container.wait()
    with tarfile.open(fileobj=io.BytesIO(b"".join(container.export()))) as archive:
        member = archive.extractfile("made")
        assert member
        assert member.read() == b"content\n"


def test_it_updates_limits(client: Any) -> None:
    container = run(client, "sleep 600", detach=True, mem_limit="64m")
    container.update(mem_limit="128m", memswap_limit="256m")
    container.reload()
    assert container.attrs["HostConfig"]["Memory"] == 128 << 20


def test_it_saves_loads_tags_and_removes_images(client: Any) -> None:
    image = client.images.get("busybox")
    assert image.tag("example.org/team/copy", tag="1")
    archive = b"".join(client.images.get("example.org/team/copy:1").save(named="example.org/team/copy:1"))
    client.images.remove("example.org/team/copy:1")
    with pytest.raises(ImageNotFound):
        client.images.get("example.org/team/copy:1")
    (loaded,) = client.images.load(archive)
    assert loaded.id == image.id
    assert "example.org/team/copy:1" in loaded.tags
    client.images.remove("example.org/team/copy:1")
    assert image.history()


def test_it_hears_events(client: Any) -> None:
    stream = client.events(decode=True, filters={"type": "container", "event": ["create", "start", "die", "destroy"]})
    run(client, "true", remove=True)
    assert [next(stream)["Action"] for _ in range(4)] == ["create", "start", "die", "destroy"]
    stream.close()


def test_it_prunes(client: Any) -> None:
    container = run(client, "true", detach=True)
    container.wait()
    assert client.containers.prune()["ContainersDeleted"] == [container.id]
    assert client.networks.prune()["NetworksDeleted"] is None
    assert client.volumes.list() == []
    assert {network.name for network in client.networks.list()} == {"bridge", "none", "host"}
    assert client.df()["Containers"] in ([], None)


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"name": "no/slash"}, 400),
        ({"cap_add": ["NOSUCH"]}, 400),
        ({"mem_limit": 1}, 400),
        ({"user": "nobody-here"}, 400),
    ],
)
def test_a_wrong_wish_is_the_callers_fault(client: Any, options: dict[str, Any], status: int) -> None:
    with pytest.raises(APIError) as caught:
        run(client, "true", **options)
    assert caught.value.status_code == status


@pytest.fixture
async def aio(daemon: Daemon, busybox: str) -> AsyncIterator[aiodocker.Docker]:
    client = aiodocker.Docker(url=daemon.host)
    yield client
    await client.close()


async def test_aiodocker_runs_execs_and_follows(aio: aiodocker.Docker) -> None:
    config = {"Image": "busybox", "Cmd": ["sh", "-c", "echo one; sleep 600"], "HostConfig": {"NetworkMode": "none"}}
    container = await aio.containers.run(config=config, name="aio")
    follow = container.log(stdout=True, follow=True)
    assert await anext(aiter(follow)) == "one\n"
    execution = await container.exec(["cat"], stdin=True)
    async with execution.start(detach=False) as stream:
        await stream.write_in(b"hello")
        message = await stream.read_out()
        assert message
        assert message.data == b"hello"
    await container.delete(force=True)
    await follow.aclose()


async def test_aiodocker_attaches_by_websocket(aio: aiodocker.Docker) -> None:
    config = {"Image": "busybox", "Cmd": ["cat"], "OpenStdin": True, "HostConfig": {"NetworkMode": "none"}}
    container = await aio.containers.create(config=config)
    socket = await container.websocket(stdin=True, stdout=True, stderr=True, stream=True)
    await container.start()
    await socket.send_bytes(b"ws")
    assert (await socket.receive(20)).data == b"ws"
    await socket.close()
    await container.delete(force=True)


async def test_aiodocker_hears_events(aio: aiodocker.Docker) -> None:
    subscriber = aio.events.subscribe()
    config = {"Image": "busybox", "Cmd": ["true"], "HostConfig": {"NetworkMode": "none"}}
    container = await aio.containers.run(config=config)
    event = await subscriber.get()
    while event and event["Action"] != "die":
        event = await subscriber.get()
    assert event
    assert event["Actor"]["ID"] == container.id
    await container.delete(force=True)


async def test_aiodocker_tells_a_new_terminal_its_size_at_once(aio: aiodocker.Docker) -> None:
    """The stream is there before the process is."""
    config = {"Image": "busybox", "Cmd": ["sleep", "600"], "HostConfig": {"NetworkMode": "none"}}
    container = await aio.containers.run(config=config)
    execution = await container.exec(["sh"], stdin=True, tty=True)
    shown = b""
    async with execution.start(detach=False) as stream:
        await execution.resize(h=22, w=55)
        await stream.write_in(b"stty size; exit\n")
        while message := await stream.read_out():
            shown += message.data
    assert b"22 55" in shown
    await container.delete(force=True)


async def test_aiodocker_loads_a_file(aio: aiodocker.Docker, tmp_path: Path) -> None:
    """Its HTTP client closes the file when the answer begins: this may not be before the archive has been taken."""
    async with aio.images.export_image("busybox") as export:
        (tmp_path / "archive").write_bytes(await export.read())
    with (tmp_path / "archive").open("rb") as archive:
        said = await asyncio.wait_for(aio.images.import_image(archive), 60)
    assert said == [{"stream": "Loaded image: busybox:latest\n"}]


def test_an_exec_of_the_low_level_api_is_told_its_size(client: Any) -> None:
    container = run(client, "sleep 600", detach=True)
    identifier = client.api.exec_create(container.id, "sleep 600", stdin=True, tty=True)["Id"]
    stream = client.api.exec_start(identifier, tty=True, socket=True)
    client.api.exec_resize(identifier, height=22, width=55)
    assert client.api.exec_inspect(identifier)["Running"]
    stream.close()
    container.remove(force=True)
