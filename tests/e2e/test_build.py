"""Building images, from a Dockerfile to a container that runs: the classic way, with the stock command and by hand."""

from __future__ import annotations

import glob
import json
import os
import re
import signal
import sqlite3
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from support.archives import member, tar
from support.busybox import busybox_daemon
from support.daemons import TIMEOUT, Daemon
from support.needs import need
from support.unixhttp import UnixConnection

pytestmark = need("root", "busybox", "overlay", "namespaces")

DOCKERFILE = """
FROM busybox:latest
ARG WHO=world
ENV GREETING=hello
RUN echo "$GREETING $WHO" > /greeting && id -u
COPY one.txt directory /srv/
WORKDIR /srv
RUN cat one.txt inner.txt > both.txt
USER guest
CMD ["cat", "/greeting", "both.txt"]
"""


def context(dockerfile: str, **files: str) -> bytes:
    """A build's context as an archive."""
    return tar(
        [member("Dockerfile", dockerfile.encode()), *(member(name, text.encode()) for name, text in files.items())]
    )


FILES = {"one.txt": "one\n", "directory/inner.txt": "inner\n"}


def build(daemon: Daemon, dockerfile: str, files: dict[str, str] | None = None, **query: Any) -> list[dict[str, Any]]:
    """Build by hand; the messages."""
    body = context(dockerfile, **(files or {}))
    answer = daemon.request("POST", "/build", body, headers={"Content-Type": "application/x-tar"}, version=1, **query)
    assert answer.status == 200, answer.body
    return [json.loads(line) for line in answer.body.splitlines() if line]


def text_of(messages: list[dict[str, Any]]) -> str:
    """What a build has said."""
    return "".join(message.get("stream", "") + message.get("error", "") for message in messages)


def image_of(messages: list[dict[str, Any]]) -> str:
    """The ID of the image that a build has made."""
    found = [message["aux"]["ID"] for message in messages if "aux" in message]
    assert found, text_of(messages)
    return str(found[-1])


def test_a_dockerfile_becomes_an_image_that_runs(daemon: Daemon, busybox: str) -> None:
    build(daemon, DOCKERFILE, FILES, t="built:one")
    ran = daemon.cli("run", "--rm", "--network", "none", "built:one", check=True)
    assert ran.stdout == "hello world\none\ninner\n"
    config = daemon.request("GET", "/images/built:one/json").json["Config"]
    assert config["User"] == "guest"
    assert config["WorkingDir"] == "/srv"
    assert "GREETING=hello" in config["Env"]


def test_the_same_again_is_all_in_the_cache(daemon: Daemon, busybox: str) -> None:
    first = build(daemon, DOCKERFILE, FILES)
    second = build(daemon, DOCKERFILE, FILES)
    assert image_of(first) == image_of(second)
    assert text_of(second).count("Using cache") == 8
    changed = build(daemon, DOCKERFILE, {**FILES, "one.txt": "another\n"})
    assert image_of(changed) != image_of(first)
    assert text_of(changed).count("Using cache") == 3  # ARG, ENV, RUN


def test_an_argument_changes_what_uses_it(daemon: Daemon, busybox: str) -> None:
    messages = build(daemon, DOCKERFILE, FILES, buildargs='{"WHO": "you"}')
    ran = daemon.cli("run", "--rm", "--network", "none", image_of(messages), check=True)
    assert ran.stdout.startswith("hello you\n")


def test_stages_give_files_to_each_other_and_unused_ones_are_not_built(daemon: Daemon, busybox: str) -> None:
    dockerfile = """
    FROM busybox AS unused
    RUN echo never && exit 1
    FROM busybox AS maker
    RUN mkdir /out && echo made > /out/file
    FROM scratch
    COPY --from=busybox /bin/busybox /bin/cat
    COPY --from=maker /out /
    ENTRYPOINT ["/bin/cat", "/file"]
    """
    messages = build(daemon, dockerfile, t="built:stages")
    assert "never" not in text_of(messages)
    assert daemon.cli("run", "--rm", "--network", "none", "built:stages", check=True).stdout == "made\n"


def test_a_step_that_fails_fails_the_build_with_its_exit_code(daemon: Daemon, busybox: str) -> None:
    messages = build(daemon, "FROM busybox\nRUN echo before; exit 7\nRUN echo after")
    assert "before" in text_of(messages)
    assert "after\n" not in text_of(messages).replace("echo after", "")
    assert messages[-1]["errorDetail"]["code"] == 7
    assert "returned a non-zero code: 7" in messages[-1]["error"]


def test_mounts_of_all_kinds_leave_nothing_in_the_image(daemon: Daemon, busybox: str) -> None:
    dockerfile = """
    FROM busybox AS other
    RUN mkdir /deep && echo from > /deep/file
    FROM busybox
    RUN --mount=type=cache,target=/cache/c echo kept > /cache/c/kept
    RUN --mount=type=cache,target=/cache/c --mount=type=tmpfs,target=/mnt/t \\
        --mount=type=bind,from=other,source=/deep/file,target=/mnt/file \\
        --mount=type=bind,from=other,source=/deep,target=/mnt/deep \\
        --mount=type=bind,source=one.txt,target=/mnt/one \\
        cat /cache/c/kept /mnt/file /mnt/deep/file /mnt/one > /all
    """
    image = image_of(build(daemon, dockerfile, FILES))
    script = "cat /all; ls -d /cache /mnt 2>/dev/null; true"
    ran = daemon.cli("run", "--rm", "--network", "none", image, "sh", "-c", script, check=True)
    assert ran.stdout == "kept\nfrom\nfrom\none\n"


@need("docker")
def test_the_stock_command_builds(
    daemon: Daemon, busybox: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_BUILDKIT", "0")
    (tmp_path / "directory").mkdir()
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    done = daemon.docker("build", "-t", "built:stock", str(tmp_path), check=True)
    assert "Successfully tagged built:stock" in done.stdout
    assert daemon.docker("run", "--rm", "--network", "none", "built:stock", check=True).stdout.startswith("hello world")
    again = daemon.docker("build", "-t", "built:stock", str(tmp_path), check=True)
    assert again.stdout.count("Using cache") == 8
    given = "FROM busybox\nCOPY one.txt /given\n"  # the command ends this archive with the file, without padding
    daemon.docker("build", "-f", "-", "-t", "built:given", str(tmp_path), input=given, check=True)
    assert daemon.cli("run", "--rm", "--network", "none", "built:given", "cat", "/given", check=True).stdout == "one\n"


def test_steps_are_on_the_network_that_was_asked_for(daemon: Daemon, busybox: str) -> None:
    dockerfile = "FROM busybox\nRUN ls /sys/class/net"
    assert "eth0" in text_of(build(daemon, dockerfile, nocache=1))
    assert "eth0" not in text_of(build(daemon, dockerfile, nocache=1, networkmode="none"))


def test_a_step_finds_containers_by_name_on_a_network_of_the_engines(daemon: Daemon, busybox: str) -> None:
    daemon.cli("network", "create", "building", check=True)
    daemon.cli("run", "-d", "--name", "served", "--network", "building", busybox, "sleep", "1000", check=True)
    try:
        said = text_of(build(daemon, "FROM busybox\nRUN ping -c 1 served", networkmode="building", nocache=1))
        assert "1 packets received" in said
        assert daemon.cli("network", "inspect", "building", check=True).stdout.count('"IPv4Address"') == 1
        ours = build(daemon, "FROM busybox\nRUN cat /etc/hosts", networkmode="container:served", nocache=1)
        its = daemon.cli("exec", "served", "cat", "/etc/hosts", check=True).stdout
        assert its in text_of(ours).replace(" ---> ", "")
    finally:
        daemon.cli("rm", "-f", "served", check=True)
        daemon.cli("network", "rm", "building", check=True)


def test_options_of_steps_are_in_force(daemon: Daemon, busybox: str) -> None:
    script = "ulimit -n; cat /etc/hosts; df -k /dev/shm; head -c 60000000 /dev/zero | tail > /dev/null || echo $?"
    messages = build(
        daemon, f"FROM busybox\nRUN {script}", nocache=1, ulimits='[{"Name": "nofile", "Soft": 77, "Hard": 99}]',
        extrahosts="elsewhere:192.0.2.9", shmsize=2 << 20, memory=16 << 20, memswap=16 << 20,
    )  # fmt: skip
    said = text_of(messages)
    assert "77\n" in said
    assert "192.0.2.9\telsewhere" in said
    assert " 2048 " in said
    assert "137\n" in said


def test_limits_of_processors_and_the_parent_group_are_in_force(daemon: Daemon, busybox: str) -> None:
    """As with the classic builder of dockerd, which leaves the parent where it is, too."""
    parent = f"wherry-parent-{os.getpid()}"
    script = (
        "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us || cat /sys/fs/cgroup/cpu.max; grep Cpus_allowed_list /proc/1/status"
    )
    shares = "cat /sys/fs/cgroup/cpu/cpu.shares || cat /sys/fs/cgroup/cpu.weight"
    root = Path("/sys/fs/cgroup")
    try:
        said = text_of(
            build(
                daemon, f"FROM busybox\nRUN {script}; echo shares $({shares})", nocache=1, cpuquota=43210,
                cpuperiod=100_000, cpushares=512, cpusetcpus="0", cpusetmems="0", cgroupparent=f"/{parent}",
            )
        )  # fmt: skip
        assert "43210" in said.replace(" 100000", "").split()
        assert "Cpus_allowed_list:\t0\n" in said
        assert "shares 512\n" in said or "shares 59\n" in said  # versions 1 and 2
        assert [*root.glob(parent), *root.glob(f"*/{parent}")]
    finally:
        deadline = time.monotonic() + TIMEOUT
        while left := [*root.glob(parent), *root.glob(f"*/{parent}")]:  # the step's own go half a second after it
            assert time.monotonic() < deadline, f"{left} are not empty"
            for group in left:
                with suppress(OSError):
                    group.rmdir()


def test_what_the_cache_takes_is_listed_and_pruned(busybox_archive: bytes) -> None:
    with busybox_daemon(busybox_archive) as daemon:
        build(daemon, "FROM busybox\nRUN head -c 100000 /dev/zero > /zeros")
        entries = daemon.request("GET", "/system/df").json["BuildCache"]
        assert any("RUN head" in entry["Description"] for entry in entries)
        daemon.request("POST", "/images/prune", filters='{"dangling": ["true"]}')
        began = int(time.time()) - 1
        pruned = daemon.request("POST", "/build/prune", all=True).json
        assert pruned["CachesDeleted"]
        assert pruned["SpaceReclaimed"] >= 100_000
        assert daemon.request("GET", "/system/df").json["BuildCache"] in ([], None)
        said = daemon.cli("events", "--since", str(began), "--until", str(int(time.time()) + 1), check=True).stdout
        assert f"reclaimed={pruned['SpaceReclaimed']}" in said


# --- ends -----------------------------------------------------------------------------------------


def _begin(daemon: Daemon, dockerfile: str, word: str) -> UnixConnection:
    """Begin a build, and read until it has said something."""
    connection = UnixConnection(daemon.socket)
    headers = {"Content-Type": "application/x-tar"}
    connection.request("POST", "/build?version=1&nocache=1", context(dockerfile), headers)
    answer = connection.getresponse()
    assert answer.status == 200
    said = ""
    while word not in said:
        line = answer.readline()
        assert line, said
        said += json.loads(line).get("stream", "") if line.strip() else ""
    connection.answer = answer  # type: ignore[attr-defined]
    return connection


SLOW = "FROM busybox\nRUN touch /done\nRUN trap '' TERM; (trap '' TERM; sleep 1000) & echo he're'; sleep 1000"


def _sleepers(daemon: Daemon) -> list[str]:
    """Processes of steps."""
    found = set()
    for hierarchy in ("", "*/"):  # `glob` passes over what goes while it looks
        for group in glob.glob(f"/sys/fs/cgroup/{hierarchy}{daemon.cgroup}/*/cgroup.procs"):
            with suppress(OSError):
                found.update(Path(group).read_text().split())
    return sorted(found)


def _until_none(daemon: Daemon) -> None:
    waited = threading.Event()
    for _ in range(3000):
        if not _sleepers(daemon):
            return
        waited.wait(0.02)
    raise AssertionError(_sleepers(daemon))


def _until_recorded(daemon: Daemon, step: str) -> None:
    """Until a step's result is in the database: a death may take away what was finished in the moment before."""
    waited, query = threading.Event(), "SELECT 1 FROM build_records WHERE description LIKE ?"
    for _ in range(3000):
        with closing(sqlite3.connect(f"file:{daemon.data_root}/wherry.db?mode=ro", uri=True)) as database:
            if database.execute(query, (f"%{step}",)).fetchall():
                return
        waited.wait(0.02)
    raise AssertionError(f"no record of {step}")


def test_a_client_that_leaves_ends_its_build_and_everything_of_it(busybox_archive: bytes) -> None:
    with busybox_daemon(busybox_archive) as daemon:
        connection = _begin(daemon, SLOW, "here")
        assert _sleepers(daemon)
        connection.close()
        _until_none(daemon)
        assert "Using cache" in text_of(build(daemon, "FROM busybox\nRUN touch /done"))


@pytest.mark.parametrize("victim", ["daemon", "keeper"])
def test_after_a_death_the_next_build_goes_on_from_what_was_finished(busybox_archive: bytes, victim: str) -> None:
    with busybox_daemon(busybox_archive) as daemon:
        connection = _begin(daemon, SLOW, "here")
        _until_recorded(daemon, "RUN touch /done")
        if victim == "daemon":
            daemon.kill9()
            daemon.start()
        else:
            os.kill(daemon.keeper_pid, signal.SIGKILL)
        connection.close()
        _until_none(daemon)
        again = build(daemon, "FROM busybox\nRUN touch /done\nRUN ls /done")
        assert text_of(again).count("Using cache") == 1
        usage = daemon.request("GET", "/system/df").json
        assert all(not entry["InUse"] for entry in usage["BuildCache"])
        checked = daemon.cli("system", "fsck", check=True).stdout
        assert re.search(r" 0 damaged, 0 orphans$", checked.strip()), checked
