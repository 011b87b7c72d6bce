"""``wherry registry serve`` as people run it: over TLS, beside an engine, as a cache, in a bucket."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import needs
from support.daemons import Daemon, DockerDaemon
from support.registry_bucket import make_bucket, s3_server

PASSWORD = "correct horse"
SERVE = [sys.executable, "-m", "wherry.cli.main", "registry", "serve", "--addr", "127.0.0.1:0"]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(needs.ROOT / "src")}


@contextlib.contextmanager
def serving(*flags: str) -> Iterator[str]:
    """Run one. :returns: host and port."""
    command = [*SERVE, *flags]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    assert process.stdout
    try:
        line = process.stdout.readline().decode()
        assert line.startswith("listening on "), line
        yield line.split()[-1]
    finally:
        process.terminate()
        with process.stdout:
            assert process.wait(20) == 0


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def good(*command: str) -> str:
    done = run(*command)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def htpasswd(tmp_path: Path) -> Path:
    bcrypt = pytest.importorskip("bcrypt")
    path = tmp_path / "htpasswd"
    path.write_text(f"me:{bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()}\n")
    return path


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A directory with ca.crt, server.crt and server.key for 127.0.0.1."""
    needs.check("openssl")
    good(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
        "-keyout", str(tmp_path / "server.key"), "-out", str(tmp_path / "server.crt"), "-subj", "/CN=127.0.0.1",
        "-addext", "subjectAltName=IP:127.0.0.1",
    )  # fmt: skip
    (tmp_path / "ca.crt").write_bytes((tmp_path / "server.crt").read_bytes())
    return tmp_path


@pytest.fixture
def layout(tmp_path: Path) -> str:
    """A small image as an OCI layout, made by skopeo itself from nothing but a directory."""
    needs.check("skopeo")
    root = tmp_path / "image"
    blobs = root / "blobs/sha256"
    blobs.mkdir(parents=True)

    def store(value: object) -> dict[str, object]:
        import hashlib  # noqa: PLC0415 - only here

        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        name = hashlib.sha256(data).hexdigest()
        (blobs / name).write_bytes(data)
        return {"digest": f"sha256:{name}", "size": len(data)}

    layer = store(bytes(10240))  # an empty tar archive
    image = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}}
    media = "application/vnd.oci.image"
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{media}.manifest.v1+json",
        "config": {"mediaType": f"{media}.config.v1+json", **store(image)},
        "layers": [{"mediaType": f"{media}.layer.v1.tar", **layer}],
    }
    listed = {"mediaType": f"{media}.manifest.v1+json", **store(manifest)}
    listed["annotations"] = {"org.opencontainers.image.ref.name": "v1"}
    (root / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [listed]}))
    (root / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return f"oci:{root}:v1"


@needs.need("skopeo")
@pytest.mark.parametrize("mode", ["basic", "token"])
def test_skopeo_logs_in_over_tls(mode: str, htpasswd: Path, certificate: Path, layout: str, tmp_path: Path) -> None:
    config = tmp_path / "registry.toml"
    config.write_text(
        f'root = "{tmp_path}/data"\nworkers = 2\n[tls]\ncertificate = "{certificate}/server.crt"\n'
        f'key = "{certificate}/server.key"\n[auth]\nmode = "{mode}"\nhtpasswd = "{htpasswd}"\nanonymous_read = true\n'
    )
    trust = tmp_path / "trust"
    trust.mkdir()
    (trust / "ca.crt").write_bytes((certificate / "ca.crt").read_bytes())
    with serving("--config", str(config)) as host:
        name = f"docker://{host}/team/app:v1"
        to = ["skopeo", "copy", "--dest-cert-dir", str(trust), layout, name]
        assert "unauthorized" in run(*to).stderr
        assert run(*to, "--dest-creds", "me:wrong").returncode != 0
        good(*to, "--dest-creds", f"me:{PASSWORD}")
        good("skopeo", "copy", "--src-cert-dir", str(trust), name, f"oci:{tmp_path}/back:v1")  # anybody may read
        good("skopeo", "delete", "--cert-dir", str(trust), "--creds", f"me:{PASSWORD}", name)
        assert run("skopeo", "inspect", "--cert-dir", str(trust), name).returncode != 0


@needs.need("skopeo")
def test_a_cache_serves_what_it_pulled_when_the_upstream_is_gone(layout: str, tmp_path: Path) -> None:
    config = tmp_path / "cache.toml"
    with serving("--root", str(tmp_path / "upstream")) as upstream:
        good("skopeo", "copy", "--dest-tls-verify=false", layout, f"docker://{upstream}/team/app:v1")
        config.write_text(f'root = "{tmp_path}/cache"\n[proxy]\nupstream = "http://{upstream}"\nttl = "0"\n')
        with serving("--config", str(config)) as cache:
            name = f"docker://{cache}/team/app:v1"
            good("skopeo", "copy", "--src-tls-verify=false", name, f"oci:{tmp_path}/first:v1")
            assert (
                "a cache of another registry" in run("skopeo", "copy", "--dest-tls-verify=false", layout, name).stderr
            )
    with serving("--config", str(config)) as cache:
        name = f"docker://{cache}/team/app:v1"
        good("skopeo", "copy", "--src-tls-verify=false", name, f"oci:{tmp_path}/second:v1")


@needs.need("skopeo")
def test_two_instances_serve_one_bucket(layout: str, tmp_path: Path) -> None:
    pytest.importorskip("aiobotocore")
    pytest.importorskip("moto")
    config = tmp_path / "bucket.toml"
    with s3_server() as url:
        make_bucket(url, "registry")
        config.write_text(
            f'[storage]\ntype = "s3"\nbucket = "registry"\nendpoint = "{url}"\naccess_key = "x"\nsecret_key = "y"\n'
        )
        with serving("--config", str(config)) as one, serving("--config", str(config)) as two:
            good("skopeo", "copy", "--dest-tls-verify=false", layout, f"docker://{one}/team/app:v1")
            name = f"docker://{two}/team/app:v1"
            good("skopeo", "copy", "--src-tls-verify=false", name, f"oci:{tmp_path}/back:v1")
            good("skopeo", "delete", "--tls-verify=false", name)
            assert run("skopeo", "inspect", "--tls-verify=false", f"docker://{one}/team/app:v1").returncode != 0


@needs.need("root", "docker", "busybox")
def test_what_the_engine_has_is_linked_into_a_registry_beside_it(daemon: Daemon, busybox: str, tmp_path: Path) -> None:
    """The blobs that the engine kept of an image that it pulled are not sent when that is pushed again."""
    with serving("--root", str(tmp_path / "first")) as first:
        name = f"{first}/team/app:1"
        daemon.docker("tag", busybox, name, check=True)
        daemon.docker("push", name, check=True)
        daemon.docker("rmi", name, check=True)
        daemon.docker("pull", name, check=True)
    # made under the engine's own directory, so that both are on one file system
    root = daemon.data_root / "beside-registry"
    try:
        with serving("--root", str(root), "--engine", str(daemon.data_root)) as second:
            other = f"{second}/team/app:1"
            daemon.docker("tag", name, other, check=True)
            assert "digest: sha256:" in daemon.docker("push", other, check=True).stdout
            daemon.docker("rmi", name, other, check=True)
            shared = [path for path in (root / "blobs").rglob("*") if path.is_file() and path.stat().st_nlink > 1]
            assert shared
            assert daemon.docker("pull", other, check=True).returncode == 0
            daemon.docker("rmi", other, check=True)
    finally:
        good("rm", "-rf", str(root))


@needs.need("root", "docker", "dockerd")
def test_dockers_own_daemon_pushes_and_pulls(dockerd: DockerDaemon, busybox_archive: bytes, tmp_path: Path) -> None:
    with serving("--root", str(tmp_path / "data")) as host, dockerd.shown(host):
        query = {"fromSrc": "-", "repo": f"{host}/team/app", "tag": "1"}
        headers = {"Content-Type": "application/x-tar"}
        assert dockerd.request("POST", "/images/create", busybox_archive, headers=headers, **query).status == 200
        auth = {"X-Registry-Auth": "e30="}
        pushed = dockerd.request("POST", f"/images/{host}/team/app/push", b"", headers=auth, tag="1")
        assert b"digest: sha256:" in pushed.body, pushed.body
        assert dockerd.request("DELETE", f"/images/{host}/team/app:1").status == 200
        pulled = dockerd.request("POST", "/images/create", b"", fromImage=f"{host}/team/app", tag="1")
        assert b"Downloaded newer image" in pulled.body, pulled.body
        assert dockerd.request("DELETE", f"/images/{host}/team/app:1").status == 200


def test_the_program_ends_when_it_is_told(tmp_path: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        process = subprocess.Popen([*SERVE, "--root", str(tmp_path)], env=environment(), stdout=subprocess.PIPE)
        assert process.stdout
        with process.stdout:
            assert process.stdout.readline()
            os.kill(process.pid, number)
            assert process.wait(20) == 0
