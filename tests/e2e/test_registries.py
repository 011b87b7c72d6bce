"""Images through real registries, by real clients: docker against our daemon, ours, skopeo and podman beside it."""

from __future__ import annotations

import json
import os
import random
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from support import needs
from support.daemons import Daemon, DockerDaemon, docker_environment
from support.processes import wait_for
from support.registries import Registry
from support.relay import Valve

pytestmark = needs.need("root", "docker", "busybox")
PASSWORD = "correct horse"


@pytest.fixture(scope="module", params=["wherry", "docker-registry"])
def registry(request: pytest.FixtureRequest) -> Iterator[Registry]:
    if request.param != "wherry":
        needs.check(request.param)
    registry = Registry(request.param)
    try:
        registry.start()
        yield registry
    finally:
        registry.stop()


@pytest.fixture(scope="module")
def closed() -> Iterator[Registry]:
    """Our registry, for those with a password."""
    bcrypt = pytest.importorskip("bcrypt")
    secret = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    registry = Registry("wherry", f"me:{secret}\n")
    try:
        registry.start()
        yield registry
    finally:
        registry.stop()


def run(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done


@pytest.fixture
def pushed(daemon: Daemon, busybox: str, registry: Registry) -> str:
    """An image that the stock docker command pushed, and that is not here any more but under its first name."""
    name = f"{registry.host}/team/busybox:1"
    daemon.docker("tag", busybox, name, check=True)
    said = daemon.docker("push", name, check=True).stdout
    assert "The push refers to repository" in said
    assert "digest: sha256:" in said
    daemon.docker("rmi", name, check=True)
    return name


def test_docker_pushes_and_pulls_and_runs(daemon: Daemon, pushed: str) -> None:
    said = daemon.docker("pull", pushed, check=True).stdout
    assert f"Status: Downloaded newer image for {pushed}" in said or f"up to date for {pushed}" in said
    assert said.splitlines()[-1] == pushed
    again = daemon.docker("pull", pushed, check=True).stdout
    assert f"Status: Image is up to date for {pushed}" in again
    assert daemon.docker("run", "--rm", "--network", "none", pushed, "echo", "hi", check=True).stdout == "hi\n"
    daemon.docker("rmi", pushed)


def test_run_fetches_an_image_that_is_not_there(daemon: Daemon, pushed: str) -> None:
    done = daemon.docker("run", "--rm", "--network", "none", pushed, "echo", "hi", check=True)
    assert done.stdout == "hi\n"
    assert f"Unable to find image '{pushed}' locally" in done.stderr
    daemon.docker("rmi", pushed, check=True)
    ours = daemon.cli("run", "--rm", "--network", "none", pushed, "echo", "hi", check=True)
    assert ours.stdout == "hi\n"
    daemon.docker("rmi", pushed, check=True)
    refused = daemon.cli("run", "--rm", "--pull", "never", pushed, "true")
    assert refused.returncode == 125
    assert "No such image" in refused.stderr


def test_a_digest_is_what_was_pushed(daemon: Daemon, pushed: str) -> None:
    digest = daemon.docker("inspect", "-f", "{{json .RepoDigests}}", "--type", "image", _pull(daemon, pushed)).stdout
    [by_digest] = [name for name in json.loads(digest) if name.startswith(pushed.rpartition(":")[0])]
    daemon.docker("rmi", pushed, check=True)
    daemon.docker("pull", by_digest, check=True)
    assert daemon.docker("run", "--rm", "--network", "none", by_digest, "echo", "x", check=True).stdout == "x\n"
    daemon.docker("rmi", by_digest, check=True)


def _pull(daemon: Daemon, name: str) -> str:
    daemon.docker("pull", "-q", name, check=True)
    return name


def test_what_is_not_there_and_who_does_not_listen(daemon: Daemon, registry: Registry) -> None:
    missing = daemon.docker("pull", f"{registry.host}/no/such:1")
    assert missing.returncode == 1
    assert "not found" in missing.stderr
    absent = daemon.docker("pull", "127.0.0.1:1/x:1")
    assert 'Get "http://127.0.0.1:1/v2/": dial tcp 127.0.0.1:1: connect: connection refused' in absent.stderr


def test_the_same_image_in_another_repository_is_mounted(daemon: Daemon, pushed: str, registry: Registry) -> None:
    other = f"{registry.host}/other/busybox:1"
    _pull(daemon, pushed)
    daemon.docker("tag", pushed, other, check=True)
    assert "Mounted from team/busybox" in daemon.docker("push", other, check=True).stdout
    assert "Layer already exists" in daemon.docker("push", other, check=True).stdout
    daemon.docker("rmi", pushed, other, check=True)


def test_all_tags_go_and_come(daemon: Daemon, busybox: str, registry: Registry) -> None:
    repository = f"{registry.host}/many/tags"
    for tag in ("a", "b"):
        daemon.docker("tag", busybox, f"{repository}:{tag}", check=True)
    daemon.docker("push", "-a", repository, check=True)
    daemon.docker("rmi", f"{repository}:a", f"{repository}:b", check=True)
    daemon.cli("pull", "--all-tags", repository, check=True)
    names = daemon.docker("images", repository, "--format", "{{.Tag}}", check=True).stdout.split()
    assert sorted(names) == ["a", "b"]
    daemon.docker("rmi", f"{repository}:a", f"{repository}:b", check=True)


@needs.need("skopeo")
def test_skopeo_reads_what_we_push_and_we_what_it_copies(daemon: Daemon, pushed: str, registry: Registry) -> None:
    options = ["--src-tls-verify=false", "--dest-tls-verify=false"]
    target = f"{registry.host}/by/skopeo"
    for number, style in enumerate(("oci", "v2s2")):
        run("skopeo", "copy", *options, "-f", style, f"docker://{pushed}", f"docker://{target}:{number}")
        daemon.docker("pull", f"{target}:{number}", check=True)
        said = daemon.docker("run", "--rm", "--network", "none", f"{target}:{number}", "echo", style, check=True)
        assert said.stdout == f"{style}\n"
        daemon.docker("rmi", f"{target}:{number}", check=True)


def test_manifest_lists_are_put_together_from_what_a_registry_has(
    daemon: Daemon, registry: Registry, busybox: str, tmp_path: Path
) -> None:
    def manifest(*words: str, check: bool = True) -> str:
        done = daemon.cli("--config", str(tmp_path), "manifest", *words, check=check)
        return done.stdout + (done.stderr if not check else "")

    one, other, made = (f"{registry.host}/lists/{name}" for name in ("one:1", "other:1", "made:1"))
    for name in (one, other):
        daemon.cli("tag", busybox, name, check=True)
        daemon.cli("push", name, check=True)
        daemon.cli("rmi", name, check=True)
    assert manifest("create", made, one, other) == f"Created manifest list {made}\n"
    assert "refusing to amend" in manifest("create", made, one, check=False)
    manifest("create", "--amend", made, one)
    manifest("annotate", "--arch", "arm64", "--variant", "v8", made, other)
    listed = json.loads(manifest("inspect", made))["manifests"]
    assert [one["platform"].get("variant") for one in listed] == ["v8", None]
    assert "layers" in json.loads(manifest("inspect", made, other))
    digest = manifest("push", "--purge", made).strip()
    assert f"No such manifest: {made}" in manifest("rm", made, check=False)
    pushed = json.loads(manifest("inspect", "-v", made))
    assert pushed["Digest"] == digest
    assert pushed["Document"]["manifests"] == listed
    assert "is a manifest list" in manifest("create", "x", made, check=False)
    manifest("create", "elsewhere.example/x:1", one)
    assert "a different registry than the target image" in manifest("push", "elsewhere.example/x:1", check=False)
    daemon.docker("pull", made, check=True)
    daemon.docker("rmi", made, check=True)


@needs.need("skopeo", "shared")
def test_an_index_gives_the_platform_that_was_asked_for(daemon: Daemon, registry: Registry) -> None:
    archive = needs.shared() / "images" / "busybox-1.37-musl-amd64+arm64.oci.tar"
    name = f"{registry.host}/multi/busybox:1.37"
    run("skopeo", "copy", "-a", "--dest-tls-verify=false", f"oci-archive:{archive}", f"docker://{name}")
    daemon.docker("pull", "--platform", "linux/arm64", name, check=True)
    shown = daemon.docker("image", "inspect", "-f", "{{.Architecture}} {{json .RepoDigests}}", name, check=True).stdout
    assert shown.startswith("arm64 ")
    index = json.loads(daemon.cli("manifest", "inspect", name, check=True).stdout)
    assert [one["platform"]["architecture"] for one in index["manifests"]] == ["amd64", "arm64"]
    remote = json.loads(daemon.cli("image", "inspect", "--remote", name, check=True).stdout)
    assert remote[0]["RepoDigests"][0] in shown
    create = ("create", "--network", "none")
    foreign = daemon.docker(*create, name, check=True)
    assert "image's platform (linux/arm64/v8) does not match the detected host platform (linux/amd64)" in foreign.stderr
    other = daemon.cli(*create, "--platform", "linux/amd64", name, check=True)  # is fetched, for it is another one
    assert "Unable to find image" in other.stderr
    again = daemon.docker(*create, "--platform", "linux/amd64", name, check=True)
    assert again.stderr == ""
    daemon.docker("rm", *(made.stdout.strip() for made in (foreign, other, again)), check=True)
    wrong = daemon.docker(*create, "--platform", "linux/s390x", name)
    assert "no matching manifest for linux/s390x" in wrong.stderr
    daemon.docker("pull", "--platform", "linux/arm64", name, check=True)
    wrong = daemon.docker("pull", "--platform", "linux/s390x", name)
    assert "no matching manifest for linux/s390x in the manifest list entries" in wrong.stderr
    described = daemon.request("GET", f"/distribution/{name}/json").json
    assert [one["architecture"] for one in described["Platforms"]] == ["amd64", "arm64"]
    daemon.docker("rmi", name, check=True)


@needs.need("skopeo", "shared")
def test_what_is_loaded_as_an_index_is_pushed_and_saved_as_that_index(
    daemon: Daemon, registry: Registry, tmp_path: Path
) -> None:
    original = needs.shared() / "images" / "busybox-1.37-musl-amd64+arm64.oci.tar"
    archive = tmp_path / "archive.tar"
    run("skopeo", "copy", "-q", "-a", f"oci-archive:{original}", f"oci-archive:{archive}:two-platforms:1")
    loaded = daemon.docker("load", "-i", str(archive), check=True).stdout.split()[-1]
    name = f"{registry.host}/whole/busybox:1"
    daemon.docker("tag", loaded, name, check=True)
    digest = json.loads(daemon.docker("image", "inspect", name, check=True).stdout)[0]["Descriptor"]["digest"]
    assert f"1: digest: {digest} size:" in daemon.docker("push", name, check=True).stdout
    options = ["--src-tls-verify=false", "--format", "{{.Digest}}"]
    assert run("skopeo", "inspect", "--tls-verify=false", *options[1:], f"docker://{name}").stdout.strip() == digest
    for architecture in ("amd64", "arm64"):
        run(
            "skopeo",
            "copy",
            "-q",
            f"--override-arch={architecture}",
            options[0],
            f"docker://{name}",
            f"oci:{tmp_path}/x",
        )
    saved = tmp_path / "saved.tar"
    daemon.docker("save", "-o", str(saved), name, check=True)
    run("skopeo", "copy", "-q", "-a", f"oci-archive:{saved}", f"oci:{tmp_path}/all:1")
    [entry] = json.loads((tmp_path / "all" / "index.json").read_text())["manifests"]
    assert entry["digest"] == digest
    alone = daemon.docker("push", "--platform", "linux/arm64", name, check=True).stdout
    assert digest not in alone
    shown = run("skopeo", "inspect", "--tls-verify=false", "--config", "--override-arch=arm64", f"docker://{name}")
    assert json.loads(shown.stdout)["architecture"] == "arm64"
    wrong = daemon.docker("push", "--platform", "linux/s390x", name)
    assert "does not provide the specified platform (linux/s390x)" in wrong.stderr
    daemon.docker("rmi", name, loaded, check=True)
    assert daemon.docker("load", "--platform", "linux/arm64", "-i", str(archive), check=True).returncode == 0
    daemon.docker("tag", loaded, name, check=True)
    part = daemon.docker("push", name, check=True).stdout
    assert "Not all multiplatform-content is present and only the available single-platform image was pushed" in part
    daemon.docker("rmi", name, loaded, check=True)


@needs.need("podman")
def test_podman_pulls_what_we_push(daemon: Daemon, pushed: str) -> None:
    back = f"{pushed}-podman"
    with tempfile.TemporaryDirectory(prefix="pod-") as place:  # podman wants a short path here
        own = ["--root", f"{place}/root", "--runroot", f"{place}/run", "--storage-driver", "vfs"]
        run("podman", *own, "pull", "--tls-verify=false", pushed)
        run("podman", *own, "tag", pushed, back)
        run("podman", *own, "push", "--tls-verify=false", back)
        run("podman", *own, "rmi", "-a", "-f")
    daemon.docker("pull", back, check=True)
    assert daemon.docker("run", "--rm", "--network", "none", back, "echo", "z", check=True).stdout == "z\n"
    daemon.docker("rmi", back, check=True)


def test_dockerd_and_wherryd_pull_what_the_other_pushed(
    daemon: Daemon, dockerd: DockerDaemon, pushed: str, registry: Registry, tmp_path: Path
) -> None:
    back = f"{registry.host}/from/dockerd:1"
    environment = docker_environment(dockerd.host, tmp_path)
    with dockerd.shown(registry.host):
        for words in (["pull", pushed], ["tag", pushed, back], ["push", back]):
            done = subprocess.run(
                ["docker", *words], env=environment, capture_output=True, text=True, check=False, timeout=60
            )
            assert done.returncode == 0, done.stderr
    daemon.docker("pull", back, check=True)
    assert daemon.docker("run", "--rm", "--network", "none", back, "echo", "y", check=True).stdout == "y\n"
    daemon.docker("rmi", back, check=True)


def test_a_search_finds_what_the_catalogue_has(daemon: Daemon, pushed: str, registry: Registry) -> None:
    assert "team/busybox" in daemon.docker("search", f"{registry.host}/team", check=True).stdout


def test_who_is_not_logged_in_gets_nothing(daemon: Daemon, closed: Registry, busybox: str) -> None:
    name = f"{closed.host}/private/busybox:1"
    daemon.docker("tag", busybox, name, check=True)
    assert daemon.docker("push", name).returncode == 1
    wrong = daemon.docker("login", "-u", "me", "--password-stdin", closed.host, input="wrong")
    assert wrong.returncode == 1
    assert "unauthorized: incorrect username or password" in wrong.stderr
    daemon.docker("login", "-u", "me", "--password-stdin", closed.host, input=PASSWORD, check=True)
    daemon.docker("push", name, check=True)
    daemon.docker("rmi", name, check=True)
    daemon.docker("pull", name, check=True)
    daemon.docker("logout", closed.host, check=True)
    daemon.docker("rmi", name, check=True)
    denied = daemon.docker("pull", name)
    assert denied.returncode == 1
    assert "no basic auth credentials" in denied.stderr


def test_our_login_is_dockers_login(
    daemon: Daemon, closed: Registry, busybox: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    name = f"{closed.host}/private/ours:1"
    daemon.docker("tag", busybox, name, check=True)
    daemon.cli("login", "-u", "me", "--password-stdin", closed.host, input=PASSWORD, check=True)
    assert (tmp_path / "config.json").stat().st_mode & 0o777 == 0o600
    daemon.cli("push", name, check=True)
    daemon.docker("rmi", name, check=True)
    daemon.cli("run", "--rm", "--network", "none", name, "true", check=True)
    said = daemon.cli("logout", closed.host, check=True).stdout
    assert said == f"Removing login credentials for {closed.host}\n"
    assert json.loads((tmp_path / "config.json").read_text())["auths"] == {}
    daemon.docker("rmi", name, check=True)


def test_a_credential_helper_keeps_the_secret(
    daemon: Daemon, closed: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = tmp_path / "docker-credential-tests"
    helper.write_text(
        f"#!/bin/sh\ncase $1 in get) [ -s {tmp_path}/kept ] && cat {tmp_path}/kept || {{ echo 'credentials not found in"
        f" native keychain'; exit 1; }};; store) cat > {tmp_path}/kept;; erase) rm -f {tmp_path}/kept;; esac\n"
    )
    helper.chmod(0o755)
    (tmp_path / "config.json").write_text(json.dumps({"credsStore": "tests", "psFormat": "x"}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    daemon.cli("login", "-u", "me", "--password-stdin", closed.host, input=PASSWORD, check=True)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written == {"credsStore": "tests", "psFormat": "x", "auths": {closed.host: {}}}
    assert json.loads((tmp_path / "kept").read_text())["Secret"] == PASSWORD
    daemon.cli("search", f"{closed.host}/x", check=True)
    daemon.cli("logout", closed.host, check=True)
    assert not (tmp_path / "kept").exists()


def _size(directory: Path) -> int:
    """The bytes in a directory, from which files may go at any moment."""
    total = 0
    for entry in directory.iterdir():
        with suppress(FileNotFoundError):
            total += entry.stat().st_size
    return total


@pytest.fixture
def valve(registry: Registry) -> Iterator[Valve]:
    """A way to the registry on which transfers come to a halt, so that one is under way when a daemon is killed."""
    valve = Valve(registry.port)
    yield valve
    valve.close()


def test_a_daemon_killed_while_it_pulls_goes_on_from_there(own_daemon: Daemon, valve: Valve) -> None:
    name = f"{valve.host}/big/noise:1"
    root = own_daemon.root / "rootfs"
    root.mkdir()
    (root / "noise").write_bytes(random.Random(3).randbytes(12 << 20))
    run("tar", "-C", str(root), "-cf", str(own_daemon.root / "noise.tar"), ".")
    own_daemon.docker("import", str(own_daemon.root / "noise.tar"), name, check=True)
    own_daemon.docker("push", name, check=True)
    own_daemon.docker("rmi", name, check=True)
    partial = own_daemon.data_root / "partial"
    with valve.narrow(6 << 20):
        client = threading.Thread(target=lambda: own_daemon.docker("pull", name))
        client.start()
        wait_for(lambda: _size(partial) > 4 << 20)
        own_daemon.kill9()
        client.join()
    assert _size(partial) > 4 << 20
    own_daemon.start()
    assert own_daemon.docker("images", "-q", name, check=True).stdout == ""
    with valve.narrow(9 << 20):  # what had come is not sent again
        own_daemon.docker("pull", name, check=True)
    assert list(partial.iterdir()) == []
    assert list((own_daemon.data_root / "tmp").iterdir()) == []


def test_a_daemon_killed_while_it_pushes_pushes_again_what_is_missing(
    own_daemon: Daemon, busybox_archive: bytes, registry: Registry, valve: Valve
) -> None:
    name = f"{valve.host}/killed/noise:1"
    own_daemon.docker("import", "-", "small", input=busybox_archive, check=True)
    script = "dd if=/dev/urandom of=/noise bs=1000000 count=8 2>/dev/null"
    container = own_daemon.docker("run", "-d", "--network", "none", "small", "sh", "-c", script, check=True)
    own_daemon.docker("wait", container.stdout.strip(), check=True)
    own_daemon.docker("commit", container.stdout.strip(), name, check=True)
    own_daemon.docker("tag", "small", f"{valve.host}/killed/noise:small", check=True)
    small = own_daemon.docker("push", f"{valve.host}/killed/noise:small", check=True)
    assert "Pushed" in small.stdout
    with (
        valve.narrow(1 << 20),
        subprocess.Popen(
            ["docker", "push", name],
            env=docker_environment(own_daemon.host, own_daemon.root), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        ) as client,
    ):  # fmt: skip
        assert client.stdout
        while not list((own_daemon.data_root / "tmp").glob("blob-*")):  # what is compressed while it is sent
            assert client.poll() is None, "the push was over too soon"
            time.sleep(0.001)
        own_daemon.kill9()
        client.stdout.read()
    assert registry.status("/v2/killed/noise/manifests/1") == 404
    own_daemon.start()
    assert list((own_daemon.data_root / "tmp").iterdir()) == []
    said = own_daemon.docker("push", name, check=True).stdout
    assert said.count("Layer already exists") == 1
    assert registry.status("/v2/killed/noise/manifests/1") == 200
    own_daemon.docker("rm", container.stdout.strip(), check=True)
    own_daemon.docker("rmi", name, check=True)
    own_daemon.docker("pull", "-q", name, check=True)


def two_layers(daemon: Daemon, base: str, name: str) -> list[str]:
    """An image of two layers that came from a registry. :returns: the digests of its layers' blobs."""
    script = "echo hello > /greeting"
    container = daemon.docker("run", "-d", "--network", "none", base, "sh", "-c", script, check=True).stdout.strip()
    daemon.docker("wait", container, check=True)
    daemon.docker("commit", container, name, check=True)
    daemon.docker("rm", container, check=True)
    daemon.docker("push", name, check=True)
    daemon.docker("rmi", name, check=True)
    daemon.docker("pull", name, check=True)
    manifest = json.loads(daemon.cli("manifest", "inspect", name, check=True).stdout)
    return [layer["digest"] for layer in manifest["layers"]]


def flip(path: Path) -> None:
    """Damage a file as a disk does: its size stays."""
    path.write_bytes(bytes(byte ^ 1 for byte in path.read_bytes()))


def test_a_repair_fetches_what_is_broken_and_nothing_else(daemon: Daemon, busybox: str, registry: Registry) -> None:
    name = f"{registry.host}/broken/app:1"
    _, top = two_layers(daemon, busybox, name)
    blob = daemon.data_root / "content" / "blobs" / top.replace(":", "/")
    flip(blob)
    before = registry.log_size()
    assert daemon.cli("system", "fsck").returncode == 1
    assert registry.sent(before) == []
    said = daemon.cli("system", "fsck", "--repair", check=True).stdout
    assert "1 repaired, 0 damaged" in said
    assert registry.sent(before) == [f"blobs/{top}"]
    files = daemon.data_root.glob("layers/*/greeting")  # builds may have left some; the pull's is the newest
    file = max(files, key=lambda path: int(path.parent.name))
    flip(file)
    before = registry.log_size()
    assert "1 repaired, 0 damaged" in daemon.cli("system", "fsck", "--repair", check=True).stdout
    assert registry.sent(before) == []  # its blob is sound: it's unpacked again from that
    said = daemon.docker("run", "--rm", "--network", "none", name, "cat", "/greeting", check=True).stdout
    assert said == "hello\n"
    blob.unlink()
    before = registry.log_size()
    daemon.docker("pull", name, check=True)
    assert [sent for sent in registry.sent(before) if sent.startswith("blobs/")] == [f"blobs/{top}"]
    daemon.docker("rmi", name, check=True)


def test_a_layer_whose_blob_is_gone_cannot_be_pushed_and_that_is_said(
    daemon: Daemon, busybox: str, registry: Registry
) -> None:
    name, other = (f"{registry.host}/{path}:1" for path in ("lost/app", "lost/elsewhere"))
    _, top = two_layers(daemon, busybox, name)
    daemon.docker("tag", name, other, check=True)
    blob = daemon.data_root / "content" / "blobs" / top.replace(":", "/")
    data = blob.read_bytes()
    blob.unlink()
    assert "Mounted from lost/app" in daemon.docker("push", other, check=True).stdout  # the registry has it
    fresh = Registry("wherry")
    fresh.start()
    try:
        elsewhere = f"{fresh.host}/app:1"
        daemon.docker("tag", name, elsewhere, check=True)
        refused = daemon.docker("push", elsewhere)
        assert refused.returncode == 1
        assert f"the layer blob {top} of image" in refused.stderr
        assert "is not here any more" in refused.stderr
        assert fresh.status("/v2/app/manifests/1") == 404
        blob.write_bytes(data)
        daemon.docker("push", elsewhere, check=True)
    finally:
        fresh.stop()
    daemon.docker("rmi", name, other, elsewhere, check=True)


def test_ten_clients_pull_one_image_at_once(daemon: Daemon, busybox_archive: bytes, registry: Registry) -> None:
    name = f"{registry.host}/ten/times:1"
    daemon.docker("import", "-", name, input=busybox_archive, check=True)
    daemon.docker("push", "-q", name, check=True)
    daemon.docker("rmi", name, check=True)
    environment = docker_environment(daemon.host, daemon.root)
    clients = [
        subprocess.Popen(["docker", "pull", "-q", name], env=environment, stdout=subprocess.DEVNULL) for _ in range(10)
    ]
    assert [client.wait(60) for client in clients] == [0] * 10
    daemon.docker("rmi", name, check=True)
