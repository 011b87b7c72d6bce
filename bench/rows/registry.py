"""Our registry beside Docker's: blobs in and out for eight clients, manifests a second, memory."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bench import machine
from bench.measure import Bench, Row, seconds
from bench.registry import Registry, serving
from bench.sides import ROOT

CLIENTS = 8
BLOB = 100_000_000
REQUESTS = 5000
ROUNDS = 3
MEGA = 1_000_000
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def measure(bench: Bench) -> list[Row]:
    """Give both registries the same work in turn; the one called docker is docker-registry."""
    if not all(shutil.which(name) for name in ("docker-registry", "ab", "curl")):
        return []
    (ROOT / ".bench").mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="registry-", dir=ROOT / ".bench") as place,
        _both(Path(place)) as servers,
    ):
        return _rows(bench, servers, Path(place))


@contextmanager
def _both(place: Path) -> Iterator[dict[str, Registry]]:
    """Docker's and ours, with the settings that they have when nobody says anything."""
    with serving(place) as theirs, tempfile.TemporaryDirectory(prefix="ours-", dir=place) as root:
        ours = Registry(Path(root))
        flags = ["serve", "--addr", ours.host, "--root", root]
        process = subprocess.Popen(
            [sys.executable, "-m", "wherry.registry.server", *flags],
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
            stdout=subprocess.PIPE,
        )
        assert process.stdout
        try:
            if not process.stdout.readline():
                raise RuntimeError("our registry does not start")
            yield {"docker": theirs, "wherry": ours} if theirs is not None else {"wherry": ours}
        finally:
            process.terminate()
            process.wait()
            process.stdout.close()


def _rows(bench: Bench, servers: dict[str, Registry], place: Path) -> list[Row]:
    blobs = [_blob(place / f"blob{number}", bench.amount(BLOB)) for number in range(CLIENTS)]
    samples: dict[str, dict[str, list[float]]] = {kind: {} for kind in ("push", "pull", "HEAD", "GET")}
    for number in range(ROUNDS):
        for name, server in servers.items():
            repository = f"bench/round{number}"
            moved = sum(path.stat().st_size for path in blobs) / MEGA
            for kind, work in (("push", _push), ("pull", _pull)):
                took = seconds(partial(work, server, repository, blobs))
                samples[kind].setdefault(name, []).append(took / moved * 1000)
            _manifest(server, repository)
            for kind in ("HEAD", "GET"):
                rate = _requests(server, repository, kind, bench.amount(REQUESTS))
                samples[kind].setdefault(name, []).append(1e6 / rate)
    return [
        _row(f"registry: blobs pushed by {CLIENTS} clients, a gigabyte", "s", samples["push"], 1.0),
        _row(f"registry: blobs pulled by {CLIENTS} clients, a gigabyte", "s", samples["pull"], 1.0),
        _row(f"registry: HEAD of a manifest, {CLIENTS} clients", "µs", samples["HEAD"], 2.0),
        _row(f"registry: GET of a manifest, {CLIENTS} clients", "µs", samples["GET"], 2.0),
        Row("registry: resident after that", "MB", {name: [_resident(one)] for name, one in servers.items()}),
    ]


def _row(title: str, unit: str, samples: dict[str, list[float]], times: float) -> Row:
    """A row whose limit is so many times what docker-registry takes."""
    docker = Row(title, unit, samples).value("docker")
    return Row(title, unit, samples, None if docker is None else docker * times)


def _blob(path: Path, size: int) -> Path:
    path.write_bytes(os.urandom(size))
    return path


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _push(server: Registry, repository: str, blobs: list[Path]) -> None:
    """Each blob by a curl of its own: an upload is begun, and the bytes are its last chunk."""
    commands = []
    for path in blobs:
        begun = urllib.request.Request(f"http://{server.host}/v2/{repository}/blobs/uploads/", b"", method="POST")
        with urllib.request.urlopen(begun) as answer:
            where = urllib.parse.urljoin(f"http://{server.host}", answer.headers["Location"])
        url = f"{where}{'&' if '?' in where else '?'}digest={_digest(path)}"
        commands.append(["-T", str(path), "-H", "Content-Type: application/octet-stream", "-H", "Expect:", url])
    _curls(commands)


def _pull(server: Registry, repository: str, blobs: list[Path]) -> None:
    _curls([[f"http://{server.host}/v2/{repository}/blobs/{_digest(path)}"] for path in blobs])


def _curls(commands: list[list[str]]) -> None:
    """Run curls at the same time.

    :raises RuntimeError: when one fails.
    """
    running = [subprocess.Popen(["curl", "-sf", "-o", "/dev/null", *command]) for command in commands]
    codes = [process.wait() for process in running]
    if any(codes):
        raise RuntimeError("a blob could not be moved")


def _manifest(server: Registry, repository: str) -> None:
    """An image without layers, under the tag ``v1``."""
    url = f"http://{server.host}/v2/{repository}"
    config = b"{}"
    digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
    begun = urllib.request.Request(f"{url}/blobs/uploads/", b"", method="POST")
    with urllib.request.urlopen(begun) as answer:
        where = urllib.parse.urljoin(f"http://{server.host}", answer.headers["Location"])
    _put(f"{where}{'&' if '?' in where else '?'}digest={digest}", config, "application/octet-stream")
    described = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": len(config)}
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": []}
    _put(f"{url}/manifests/v1", json.dumps(document).encode(), MANIFEST)


def _put(url: str, data: bytes, kind: str) -> None:
    with urllib.request.urlopen(urllib.request.Request(url, data, {"Content-Type": kind}, method="PUT")):
        return


def _requests(server: Registry, repository: str, method: str, count: int) -> float:
    """How many requests a second ApacheBench gets answered.

    :raises RuntimeError: when an answer is no success.
    """
    flags = ["-i"] if method == "HEAD" else []
    url = f"http://{server.host}/v2/{repository}/manifests/v1"
    command = ["ab", "-q", "-k", "-c", str(CLIENTS), "-n", str(count), *flags, "-H", f"Accept: {MANIFEST}", url]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said:
        raise RuntimeError(said)
    found = re.search(r"Requests per second:\s+([\d.]+)", said)
    assert found
    return float(found[1])


def _resident(server: Registry) -> float:
    return machine.resident(machine.processes_naming(str(server.root))) / MEGA
