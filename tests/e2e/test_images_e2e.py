"""Images as people use them: commit, what is shared, what is saved for other engines, what is damaged."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from support.archives import Layout, member, named, tar
from support.busybox import busybox_daemon
from support.daemons import Daemon, DockerDaemon, docker_environment
from support.needs import need, program
from support.registries import Registry
from wherry.oci.media_types import OCI_INDEX

pytestmark = need("root", "busybox")

MEGABYTE = 1_000_000
RUN = ("run", "--network", "none")


@pytest.fixture(scope="module")
def engine(busybox_archive: bytes) -> Iterator[Daemon]:
    """A daemon whose disk nobody else writes to."""
    with busybox_daemon(busybox_archive) as daemon:
        yield daemon


@pytest.fixture
def fresh(engine: Daemon) -> Iterator[Daemon]:
    """The same, with nothing but the base image."""
    yield engine
    engine.remove_containers()
    for image in engine.request("GET", "/images/json").json:
        if not {"busybox:latest", "host:latest"} & set(image["RepoTags"]):
            engine.request("DELETE", f"/images/{image['Id']}", force=True)


def make(engine: Daemon, base: str, name: str, script: str, *flags: str) -> str:
    """Make an image by running a script in a container and committing that; returns its ID."""
    container = engine.docker(*RUN, "-d", base, "sh", "-c", script, check=True).stdout.strip()
    engine.docker("wait", container, check=True)
    identifier = engine.docker("commit", *flags, container, name, check=True).stdout.strip()
    engine.docker("rm", container, check=True)
    return identifier


# --- commit -----------------------------------------------------------------------------------------------------------


@need("docker")
def test_a_commit_has_everything_that_the_container_did(fresh: Daemon) -> None:
    script = (
        "echo new > /new; rm /etc/group; ln /new /hard; ln -s new /soft; chmod 4711 /bin/busybox; "
        "rm -rf /home; mkdir /home; echo x > /home/only; chown 5:6 /home/only; mkfifo /pipe; "
        "dd if=/dev/zero of=/holes bs=1 count=1 seek=9999999 2>/dev/null"
    )
    changes = (
        "--change",
        'CMD ["cat","/new"]',
        "--change",
        "ENV A=b C=d\nENV E=$A:e",
        "-m",
        "the words",
        "-a",
        "the author",
    )
    identifier = make(fresh, "busybox", "made:1", script, *changes)
    look = (
        "cat /hard /soft; ls /etc/group 2>&1; stat -c '%a %u:%g %h' /bin/busybox /home/only /hard; ls /home; "
        "test -p /pipe && echo pipe; stat -c %s /holes"
    )
    seen = fresh.docker(*RUN, "--rm", "made:1", "sh", "-c", look, check=True).stdout.splitlines()
    assert seen[:2] == ["new", "new"]
    assert "No such file" in seen[2]
    assert seen[3:] == ["4711 0:0 1", "644 5:6 1", "644 0:0 2", "only", "pipe", "10000000"]
    assert fresh.docker(*RUN, "--rm", "made:1", check=True).stdout == "new\n"
    shown = json.loads(fresh.docker("inspect", "made:1", check=True).stdout)[0]
    assert (shown["Id"], shown["Author"], shown["Comment"]) == (identifier, "the author", "the words")
    assert {"A=b", "C=d", "E=b:e"} <= set(shown["Config"]["Env"])
    assert shown["Parent"] == json.loads(fresh.docker("inspect", "busybox", check=True).stdout)[0]["Id"]
    [step, below, *_] = fresh.request("GET", "/images/made:1/history").json
    assert below["Tags"] == ["busybox:latest"]
    assert step["Comment"] == "the words"
    assert step["CreatedBy"].startswith("sh -c echo new")
    assert step["Tags"] == ["made:1"]


def test_a_running_container_stands_still_while_it_is_committed_and_goes_on(fresh: Daemon) -> None:
    container = fresh.cli(*RUN, "-d", "busybox", "sleep", "1000", check=True).stdout.strip()
    since = fresh.request("GET", "/info").json["SystemTime"]
    fresh.cli("commit", container, "paused", check=True)
    fresh.cli("commit", "--pause=false", container, "unpaused", check=True)
    assert fresh.request("GET", f"/containers/{container}/json").json["State"]["Status"] == "running"
    until = fresh.request("GET", "/info").json["SystemTime"]
    told = fresh.docker("events", "--since", since, "--until", until, "--format", "{{.Action}}", check=True).stdout
    assert [line for line in told.split() if line in ("pause", "unpause", "commit")] == [
        "pause", "unpause", "commit", "commit",
    ]  # fmt: skip


def test_a_commit_that_changes_nothing_adds_no_layer(fresh: Daemon) -> None:
    make(fresh, "busybox", "same", "true")
    layers = [fresh.request("GET", f"/images/{name}/json").json["RootFS"]["Layers"] for name in ("busybox", "same")]
    assert layers[0] == layers[1]


@pytest.mark.parametrize(
    ("query", "status", "sentence"),
    [
        ({"container": "nobody"}, 404, "No such container: nobody"),
        ({}, 400, "no container was named"),
        ({"repo": "UPPER"}, 400, "invalid reference format"),
        ({"changes": "FROM x"}, 400, "FROM is not a valid change command"),
    ],
)
def test_a_commit_that_makes_no_sense_is_refused(
    fresh: Daemon, query: dict[str, str], status: int, sentence: str
) -> None:
    container = fresh.cli("create", "--network", "none", "busybox", check=True).stdout.strip()
    if query and "container" not in query:
        query = {"container": container, **query}
    answer = fresh.request("POST", "/commit", **query)
    assert answer.status == status
    assert sentence in answer.json["message"]


# --- the case to show -------------------------------------------------------------------------------------------------


@need("docker")
def test_one_base_two_environments_and_three_applications_store_the_base_once(fresh: Daemon) -> None:
    fill = "dd if=/dev/urandom of=/{0} bs=1000 count={1} 2>/dev/null"
    make(fresh, "busybox", "base", fill.format("base", 4000))
    for name, below, size in (
        ("python", "base", 2000), ("ruby", "base", 1500),
        ("blog", "ruby", 30), ("shop", "ruby", 20), ("api", "python", 10),
    ):  # fmt: skip
        make(fresh, below, name, fill.format(name, size))
    tree = fresh.cli("image", "tree", check=True).stdout.splitlines()
    assert [line.split()[:2] for line in tree[1:8]] == [
        ["busybox:latest", tree[1].split()[1]],
        ["└─", "base:latest"],
        ["├─", "python:latest"],
        ["│", "└─"],
        ["└─", "ruby:latest"],
        ["├─", "blog:latest"],
        ["└─", "shop:latest"],
    ]
    usage = fresh.request("GET", "/system/df").json
    sizes = {image["RepoTags"][0]: image for image in usage["Images"]}
    shown = {image["RepoTags"][0]: image["Size"] for image in fresh.request("GET", "/images/json").json}
    busybox = shown["busybox:latest"]
    written = (4000 + 2000 + 1500 + 30 + 20 + 10) * 1000
    assert usage["LayersSize"] - usage["BlobsSize"] == busybox + written + shown["host:latest"]
    blog = sizes["blog:latest"]
    assert blog["Size"] - blog["BlobsSize"] == shown["blog:latest"]
    assert 30_000 < blog["Size"] - blog["SharedSize"] < 30_000 + blog["BlobsSize"]
    accounts = {row["Owner"]: row["Bytes"] for row in fresh.request("GET", "/wherry/accounts").json["Owners"]}
    assert 0 < usage["BlobsSize"] <= accounts["blobs"]
    assert f"{usage['BlobsSize'] / MEGABYTE:.3g}MB\n" in fresh.cli("system", "df", "-v", check=True).stdout
    saved = 6 * busybox + 5 * 4_000_000 + 1 * 2_000_000 + 2 * 1_500_000
    said = fresh.cli("image", "tree", check=True).stdout.splitlines()[-1]
    assert f"saves {saved / MEGABYTE:.3g}MB" in said
    table = fresh.docker("system", "df", check=True).stdout
    assert f"{usage['LayersSize'] / MEGABYTE:.4g}MB" in table
    layers = fresh.cli("image", "layers", "--format", "{{.SharedWith}}", "shop", check=True).stdout.splitlines()
    assert "python:latest" in layers[1]
    assert layers[3] == ""
    assert fresh.cli("image", "diff", "ruby", "shop", check=True).stdout == "A /shop\n"


def test_every_byte_under_the_data_root_is_accounted_for(fresh: Daemon) -> None:
    make(fresh, "busybox", "one", "dd if=/dev/urandom of=/x bs=1000 count=100 2>/dev/null; ln /x /y")
    fresh.cli(*RUN, "busybox", "sh", "-c", "echo hello; cp /bin/busybox /copy", check=True)
    stray = fresh.data_root / "stray"
    stray.write_bytes(b"x" * 10_000)
    try:
        found = fresh.request("GET", "/wherry/accounts").json
        counted = subprocess.run(["du", "-sB1", fresh.data_root], capture_output=True, text=True, check=True).stdout
        assert found["Bytes"] == int(counted.split()[0])
        assert [orphan["Path"] for orphan in found["Orphans"]] == [str(stray)]
        owners = {row["Owner"]: row["Bytes"] for row in found["Owners"]}
        assert {"layers", "blobs", "database", "containers' files", "containers' logs"} <= set(owners)
    finally:
        stray.unlink()


def accounted(engine: Daemon) -> dict[str, int]:
    """Bytes by owner, when they are all that du(1) finds, and nothing is an orphan."""
    for _ in range(10):  # until nothing was written between the two looks
        os.sync()  # blocks are given out when something reaches the disk
        found = engine.request("GET", "/wherry/accounts").json
        counted = subprocess.run(["du", "-sB1", engine.data_root], capture_output=True, text=True, check=True).stdout
        if found["Bytes"] == int(counted.split()[0]):
            break
    assert (found["Bytes"], found["Orphans"]) == (int(counted.split()[0]), [])
    return {row["Owner"]: row["Bytes"] for row in found["Owners"]}


def interrupted_pull(engine: Daemon, registry: Registry, name: str) -> Path:
    """Kill the daemon in the middle of a pull. :returns: what there is of the layer."""
    partial = engine.data_root / "partial"
    with subprocess.Popen(
        ["docker", "pull", "-q", name], env=docker_environment(engine.host, engine.root), stderr=subprocess.DEVNULL
    ) as client:
        while largest(partial)[0] < 1 << 20:
            assert client.poll() is None, "the pull was over too soon"
        engine.kill9()
    engine.start()
    return largest(partial)[1]


def largest(directory: Path) -> tuple[int, Path]:
    """The largest file of a directory, and its size."""
    with os.scandir(directory) as entries:
        return max(((entry.stat().st_size, Path(entry.path)) for entry in entries), default=(0, directory))


@need("docker")
def test_the_accounts_are_what_du_says_whatever_happened_before(fresh: Daemon) -> None:
    registry = Registry("wherry")
    registry.start()
    name = f"{registry.host}/team/big:1"
    try:
        make(fresh, "busybox", name, "dd if=/dev/urandom of=/x bs=1000000 count=60 2>/dev/null")
        accounted(fresh)
        fresh.docker("push", "-q", name, check=True)
        accounted(fresh)
        fresh.docker("rmi", name, check=True)
        assert accounted(fresh)["layers"] < 30 * MEGABYTE
        left = interrupted_pull(fresh, registry, name)
        assert accounted(fresh)["unfinished downloads"] >= left.stat().st_size
        fresh.docker("image", "prune", "-f", check=True)
        assert left.exists()  # somebody may well go on with it today
        day = 25 * 3600
        os.utime(left, (left.stat().st_atime - day, left.stat().st_mtime - day))
        size = left.stat().st_size
        assert fresh.request("POST", "/images/prune").json["SpaceReclaimed"] == size
        assert not left.exists()
        accounted(fresh)
        left = interrupted_pull(fresh, registry, name)
        os.utime(left, (0, 0))
        fresh.restart()
        assert not left.exists()
        fresh.docker("pull", "-q", name, check=True)
        accounted(fresh)
    finally:
        registry.stop()


# --- damage -----------------------------------------------------------------------------------------------------------


def test_fsck_finds_and_repairs_a_damaged_layer_but_not_under_a_running_container(fresh: Daemon) -> None:
    make(fresh, "busybox", "victim", "echo content > /file")
    container = fresh.cli(*RUN, "-d", "victim", "sleep", "1000", check=True).stdout.strip()
    [layer] = [path for path in (fresh.data_root / "layers").iterdir() if (path / "file").exists()]
    (layer / "file").write_text("damaged")
    found = fresh.cli("system", "fsck")
    assert found.returncode == 1
    assert "of victim:latest: its files are not what was unpacked (--repair unpacks it again)" in found.stdout
    assert "runs on it: stop it first" in fresh.cli("system", "fsck", "--repair").stdout
    fresh.cli("rm", "-f", container, check=True)
    repaired = fresh.cli("system", "fsck", "--repair", check=True)
    assert "1 repaired, 0 damaged" in repaired.stdout
    assert fresh.cli(*RUN, "--rm", "victim", "cat", "/file", check=True).stdout == "content\n"
    stranger = fresh.data_root / "layers" / "9999"
    stranger.mkdir()
    assert f"orphan    {stranger}" in fresh.cli("system", "fsck").stdout
    assert ", 0 damaged, 0 orphans" in fresh.cli("system", "fsck", "--repair", check=True).stdout
    assert not stranger.exists()
    assert fresh.cli(*RUN, "--rm", "victim", "cat", "/file", check=True).stdout == "content\n"


# --- platforms --------------------------------------------------------------------------------------------------------


@need("docker")
def test_what_is_for_another_platform_is_not_shown_nor_saved(fresh: Daemon, tmp_path: Path) -> None:
    words = "was found but does not provide the specified platform (linux/s390x)"
    for command in (["inspect"], ["history"], ["save", "-o", str(tmp_path / "x.tar")]):
        asked = fresh.docker("image", *command, "--platform", "linux/s390x", "busybox")
        assert asked.returncode == 1
        assert words in asked.stderr
    mine = fresh.docker("image", "inspect", "-f", "{{.Os}}/{{.Architecture}}", "busybox", check=True).stdout.strip()
    fresh.docker("save", "--platform", mine, "-o", str(tmp_path / "x.tar"), "busybox", check=True)
    fresh.docker("load", "--platform", mine, "-i", str(tmp_path / "x.tar"), check=True)
    refused = fresh.docker("load", "--platform", "linux/s390x", "-i", str(tmp_path / "x.tar"))
    assert "no image for linux/s390x" in refused.stderr


@need("docker")
def test_a_repository_is_saved_with_all_its_tags(fresh: Daemon) -> None:
    for tag in ("1", "2"):
        fresh.docker("tag", "busybox", f"several:{tag}", check=True)
    answer = fresh.request("GET", "/images/get", names="several")
    with tarfile.open(fileobj=io.BytesIO(answer.body)) as archive:
        member = archive.extractfile("manifest.json")
        assert member
        assert json.load(member)[0]["RepoTags"] == ["several:1", "several:2"]


# --- import -----------------------------------------------------------------------------------------------------------


@need("docker")
def test_an_archive_is_imported_from_an_address(fresh: Daemon, busybox_archive: bytes) -> None:
    class Files(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/tree.tar" else 404)
            self.send_header("Content-Length", str(len(busybox_archive)))
            self.end_headers()
            self.wfile.write(busybox_archive)

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            place = f"http://127.0.0.1:{server.server_port}"
            for client, name in ((fresh.docker, "from:1"), (fresh.cli, "from:2")):
                said = client("import", "-c", "CMD echo hello", f"{place}/tree.tar", name, check=True).stdout
                assert said.splitlines()[0] == f"Downloading from {place}/tree.tar"
                assert said.splitlines()[1].startswith("sha256:")
                assert fresh.docker(*RUN, "--rm", name, check=True).stdout == "hello\n"
            [step] = fresh.request("GET", "/images/from:1/history").json
            assert step["Comment"] == f"Imported from {place}/tree.tar"
            lacking = fresh.docker("import", f"{place}/none.tar")
            assert f"failed to GET {place}/none.tar with status 404 Not Found" in lacking.stderr
        finally:
            server.shutdown()
            thread.join()
    assert "connection refused" in fresh.docker("import", f"{place}/tree.tar").stderr.lower()


# --- events -----------------------------------------------------------------------------------------------------------


@need("docker")
def test_events_name_images_by_their_ids(fresh: Daemon, busybox_archive: bytes, tmp_path: Path) -> None:
    since = fresh.request("GET", "/info").json["SystemTime"]
    identifier = fresh.docker(
        "import", "-c", "LABEL told=", "-", "told:1", input=busybox_archive, check=True
    ).stdout.strip()
    fresh.docker("tag", "told:1", "told:2", check=True)
    fresh.docker("save", "-o", str(tmp_path / "told.tar"), "told:2", check=True)
    fresh.docker("rmi", "told:2", check=True)
    fresh.docker("rmi", "told:1", check=True)
    fresh.docker("load", "-i", str(tmp_path / "told.tar"), check=True)
    fresh.docker("image", "prune", "-af", "--filter", "label=told", check=True)
    until = fresh.request("GET", "/info").json["SystemTime"]
    shape = "{{.Action}} {{.Actor.ID}} {{.Actor.Attributes.name}}"
    said = fresh.docker(
        "events", "--since", since, "--until", until, "--filter", "type=image", "--format", shape, check=True
    ).stdout.splitlines()
    expected = [
        ("tag", "told:1"), ("import", "told:1"), ("tag", "told:2"), ("save", ""), ("untag", "told:2"),
        ("untag", "told:1"), ("delete", identifier), ("load", "told:2"), ("untag", "told:2"), ("delete", identifier),
    ]  # fmt: skip
    of_it = [line.split(" ") for line in said if identifier in line]
    assert [(action, name if action != "save" else "") for action, _, name in of_it] == expected
    assert all(actor == identifier for _, actor, _ in of_it)


@need("docker")
def test_a_commit_tells_of_the_image_and_its_name(fresh: Daemon, busybox: str) -> None:
    fresh.docker("create", "--name", "grown", busybox, check=True)
    since = fresh.request("GET", "/info").json["SystemTime"]
    named = fresh.docker("commit", "grown", "grown:1", check=True).stdout.strip()
    fresh.docker("commit", "grown", check=True)
    until = fresh.request("GET", "/info").json["SystemTime"]
    shape = "{{.Type}} {{.Action}} {{.Actor.Attributes.name}}"
    said = fresh.docker("events", "--since", since, "--until", until, "--format", shape, check=True).stdout
    assert said.splitlines() == ["image tag grown:1", "container commit grown", "container commit grown"]
    assert named.startswith("sha256:")


# --- other engines ----------------------------------------------------------------------------------------------------


def two_images(engine: Daemon, archive: Path) -> list[str]:
    """Save two images that share a layer into one archive; returns their IDs."""
    first = make(engine, "busybox", "me/first:1", "echo one > /one; rm -r /home", "--change", "CMD cat /one")
    second = make(engine, "me/first:1", "me/second:2", "echo two > /two", "--change", "CMD cat /two")
    with archive.open("wb") as file:
        answer = engine.request("GET", "/images/get", names="me/first:1,me/second:2")
        file.write(answer.body)
    return [first, second]


@need("docker", "dockerd")
def test_docker_loads_what_we_save_and_we_load_what_docker_saves(
    fresh: Daemon, dockerd: DockerDaemon, tmp_path: Path
) -> None:
    identifiers = two_images(fresh, tmp_path / "ours.tar")
    environment = docker_environment(dockerd.host, tmp_path)

    def theirs(*words: str) -> str:
        return subprocess.run(["docker", *words], env=environment, capture_output=True, text=True, check=True).stdout

    theirs("load", "-i", str(tmp_path / "ours.tar"))
    names = ["me/first:1", "me/second:2"]
    try:
        assert [theirs("inspect", "-f", "{{.Id}}", name).strip() for name in names] == identifiers
        assert theirs("run", "--rm", "--network", "none", "me/second:2") == "two\n"
        theirs("save", "-o", str(tmp_path / "theirs.tar"), *names)
    finally:
        theirs("rmi", *names)
    fresh.cli("rmi", *names, check=True)
    fresh.cli("load", "-i", str(tmp_path / "theirs.tar"), check=True)
    assert [fresh.request("GET", f"/images/{name}/json").json["Id"] for name in names] == identifiers
    assert fresh.cli(*RUN, "--rm", "me/second:2", check=True).stdout == "two\n"


@need("podman")
def test_podman_loads_what_we_save_and_we_load_what_podman_saves(fresh: Daemon, tmp_path: Path) -> None:
    identifiers = two_images(fresh, tmp_path / "ours.tar")
    run = tempfile.mkdtemp(prefix="podman-")  # podman wants this name to be short
    podman = [program("podman") or "podman", "--root", str(tmp_path / "root"), "--runroot", run,
              "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "none"]  # fmt: skip

    def theirs(*words: str) -> str:
        done = subprocess.run([*podman, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    theirs("load", "-i", str(tmp_path / "ours.tar"))
    names = ["localhost/me/first:1", "localhost/me/second:2"]  # so it calls what has no registry in a Docker archive
    assert [f"sha256:{theirs('inspect', '-f', '{{.Id}}', name).strip()}" for name in names] == identifiers
    theirs("save", "--multi-image-archive", "-o", str(tmp_path / "theirs.tar"), *names)
    theirs("rmi", "-a", "-f")
    fresh.cli("rmi", "me/first:1", "me/second:2", check=True)
    fresh.cli("load", "-i", str(tmp_path / "theirs.tar"), check=True)
    assert fresh.cli(*RUN, "--rm", "localhost/me/second:2", check=True).stdout == "two\n"
    assert [fresh.request("GET", f"/images/{name}/json").json["Id"] for name in names] == identifiers
    shutil.rmtree(run)


@need("skopeo")
def test_skopeo_finds_both_images_in_one_archive(fresh: Daemon, tmp_path: Path) -> None:
    identifiers = two_images(fresh, tmp_path / "ours.tar")
    for name, identifier in zip(("me/first:1", "me/second:2"), identifiers, strict=True):
        target = tmp_path / name.partition(":")[2]
        source = f"docker-archive:{tmp_path / 'ours.tar'}:docker.io/{name}"
        subprocess.run(["skopeo", "--insecure-policy", "copy", "-q", source, f"dir:{target}"], check=True)
        assert json.loads((target / "manifest.json").read_text())["config"]["digest"] == identifier
        shutil.rmtree(target)
        source = f"oci-archive:{tmp_path / 'ours.tar'}:{name.partition(':')[2]}"
        subprocess.run(["skopeo", "--insecure-policy", "copy", "-q", source, f"dir:{target}"], check=True)
        assert json.loads((target / "manifest.json").read_text())["config"]["digest"] == identifier


def test_an_export_that_is_imported_again_is_the_same_tree(fresh: Daemon, tmp_path: Path) -> None:
    container = fresh.cli(*RUN, "-d", "busybox", "sh", "-c", "echo x > /x; ln /x /y", check=True).stdout.strip()
    fresh.cli("wait", container, check=True)
    fresh.cli("export", "-o", str(tmp_path / "tree.tar"), container, check=True)
    fresh.cli("import", "--change", 'CMD ["cat", "/y"]', str(tmp_path / "tree.tar"), "again:1", check=True)
    assert fresh.cli(*RUN, "--rm", "again:1", check=True).stdout == "x\n"
    second = fresh.cli("create", "--network", "none", "again:1", check=True).stdout.strip()
    answer = fresh.request("GET", f"/containers/{second}/export")

    def listing(data: bytes) -> set[tuple[object, ...]]:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            return {(one.name, one.type, one.mode, one.uid, one.size, one.linkname, one.mtime) for one in archive}

    assert listing(answer.body) == listing((tmp_path / "tree.tar").read_bytes())


# --- base images ------------------------------------------------------------------------------------------------------

FAKE = """#!/bin/sh
# what debootstrap does, in small: the last argument is the directory
for target; do :; done
echo "I: Retrieving Release"
mkdir -p "$target/etc" "$target/bin" "$target/dev" "$target/var/log" "$target/var/lib/apt/lists" "$target/usr/bin"
printf 'Origin: Test\\nDate: Sat, 10 Feb 2024 11:07:25 UTC\\n' > "$target/var/lib/apt/lists/m_dists_s_InRelease"
cp BUSYBOX "$target/bin/sh"
mknod "$target/dev/null" c 1 3
date +%N > "$target/var/log/bootstrap.log"
echo "root:*:$(date +%s | cut -c1-5):0:99999:7:::" > "$target/etc/shadow"
echo "${*%% /*}" > "$target/etc/asked"
echo "machine$$" > "$target/etc/hostname"
echo "I: Base system installed successfully."
"""


@pytest.fixture
def fake_tool(tmp_path: Path) -> Path:
    """A directory with a program that stands for mmdebstrap: a real one needs minutes and a mirror."""
    tool = tmp_path / "mmdebstrap"
    tool.write_text(FAKE.replace("BUSYBOX", str(program("busybox") or "/bin/busybox")))
    tool.chmod(0o755)
    return tmp_path


def test_a_base_system_becomes_the_same_image_each_time(
    fresh: Daemon, fake_tool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{fake_tool}:{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(fake_tool))
    command = ("image", "bootstrap", "--include", "curl,jq", "debian:bookworm")
    first, second = (fresh.cli(*command, check=True) for _ in range(2))
    assert "Base system installed successfully." in first.stderr
    assert first.stdout == second.stdout
    shown = fresh.request("GET", "/images/debian:bookworm/json").json
    assert shown["Id"] == first.stdout.strip()
    assert shown["Created"] == "2024-02-10T11:07:25Z"
    look = "read line < /etc/asked; echo $line; read line < /etc/shadow; echo $line"
    asked, shadow = fresh.cli(*RUN, "--rm", "debian:bookworm", "sh", "-c", look, check=True).stdout.splitlines()
    assert asked == "--variant=minbase --include=curl,jq --mode=root --format=directory bookworm"
    assert shadow == "root:*:19763:0:99999:7:::"


def test_without_a_tool_a_sentence_says_which_to_install(fresh: Daemon) -> None:
    code = (
        "import sys; from wherry.cli.bootstrap import base_system; base_system.shutil.which = lambda *a, **k: None; "
        "from wherry.cli.dispatch import dispatch; sys.exit(dispatch(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "-H", fresh.host, "image", "bootstrap", "debian:bookworm"],
        env=fresh.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "neither mmdebstrap nor debootstrap is installed" in done.stderr
    assert "apt install mmdebstrap" in done.stderr
    for words, sentence in ((("debian",), "missing suite in"), (("debian:No/pe",), "invalid suite name")):
        assert sentence in fresh.cli("image", "bootstrap", *words).stderr


def test_one_platform_of_an_image_is_removed_and_no_other(fresh: Daemon) -> None:
    fresh.cli("tag", "busybox", "mine:1", check=True)
    refused = fresh.cli("rmi", "--platform", "linux/s390x", "mine:1")
    assert refused.returncode == 1
    assert "does not provide the specified platform" in refused.stderr
    machine = fresh.request("GET", "/version").json["Arch"]
    assert "Untagged: mine:1" in fresh.cli("rmi", "--platform", f"linux/{machine}", "mine:1", check=True).stdout


def several(machine: str, tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """An archive of an image for several platforms, and the digests of its manifests."""
    layout = Layout()
    parts = {one: layout.image([tar([member("name", one.encode())])], one) for one in (machine, "s390x", "riscv64")}
    layout.index = [layout.nested([*parts.values()], annotations=named("docker.io/library/several:1"))]
    path = tmp_path / "several.tar"
    path.write_bytes(layout.archive())
    return path, {one: part["digest"] for one, part in parts.items()}


def test_dockers_command_removes_a_platform_and_the_others_stay(fresh: Daemon, tmp_path: Path) -> None:
    machine = fresh.request("GET", "/version").json["Arch"]
    archive, digests = several(machine, tmp_path)
    fresh.docker("load", "-i", str(archive), check=True)
    refused = fresh.docker("rmi", "--platform", "linux/s390x", "several:1")
    assert "Content will be removed from all images referencing this variant" in refused.stderr
    removed = fresh.docker("rmi", "-f", "--platform", "linux/s390x", "several:1", check=True).stdout
    assert removed == f"Deleted: {digests['s390x']}\n"
    container = fresh.docker("create", "several:1", "/x", check=True).stdout.strip()
    former = fresh.request("GET", "/images/several:1/json").json["Id"]
    removed = fresh.docker("rmi", "-f", "--platform", f"linux/{machine}", "several:1", check=True).stdout
    assert removed == f"Deleted: {former}\nDeleted: {digests[machine]}\n"
    shown = fresh.request("GET", "/images/several:1/json").json
    assert (shown["Architecture"], shown["Descriptor"]["mediaType"]) == ("riscv64", OCI_INDEX)
    assert fresh.request("GET", f"/containers/{container}/json").json["Image"] == former
    fresh.request("DELETE", f"/containers/{container}")
    assert fresh.cli("system", "fsck", check=True).stdout.endswith("0 damaged, 0 orphans\n")
    assert "Untagged: several:1" in fresh.docker("rmi", "--platform", "linux/riscv64", "several:1", check=True).stdout
