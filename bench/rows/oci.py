"""``wherry-oci`` beside runc, each on the same bundle; in the columns, runc is Docker's."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.image import NAME, root_file_system
from bench.measure import Bench, Row, milliseconds
from bench.sides import ROOT, Side, checked, clean_environment
from wherry.ociruntime.verbs.spec import template

FLAGS = {"docker": [], "wherry": ["--runtime", "wherry"]}


def measure(bench: Bench) -> list[Row]:
    """A run, a life in three commands, and an exec; then dockerd with one and with the other."""
    with tempfile.TemporaryDirectory() as directory, bundles(Path(directory)) as command:
        rows = [
            row("wherry-oci, `run` of `true`", 0.8, bench, lambda name: command(name, "once", "run", "{}")),
            row("wherry-oci, create + start + delete", 1.0, bench, lambda name: life(command, name)),
            row("wherry-oci, `exec` of `true`", 1.0, bench, lambda name: command(name, "exec", "exec", "{}", "true")),
        ]
    docker = next((side for side in bench.sides if side.name == "docker"), None)
    if docker is not None:
        title = "`docker run --rm` through dockerd with wherry-oci"
        rows.append(row(title, 1.0, bench, lambda name: through_docker(docker, name)))
    return rows


def row(title: str, share: float, bench: Bench, work: Callable[[str], object]) -> Row:
    """Measure something in turn; wherry's may take that share of runc's time."""
    samples = bench.alternating(lambda side: milliseconds(lambda: work(side.name)), rounds=40)
    reference = Row(title, "ms", samples).value("docker")
    return Row(title, "ms", samples, None if reference is None else reference * share)


@contextlib.contextmanager
def bundles(directory: Path) -> Iterator[Callable[..., None]]:
    """What runs either runtime on a bundle of its own, and a container of each for the execs."""
    programs = {"docker": ["runc"], "wherry": [str(ROOT / "wherry-oci")]}
    for name in programs:
        for kind, args in (("once", ["true"]), ("exec", ["sleep", "100000"])):
            write_bundle(directory / f"{name}-{kind}", args, f"/wherry-bench-oci/{name}-{kind}")

    def command(name: str, kind: str, *arguments: str) -> None:
        identity = f"bench-{name}-{kind}"
        call = [*programs[name], "--root", str(directory / f"{name}-root")]
        call += [one.format(identity) for one in arguments]
        subprocess.run(
            call, cwd=directory / f"{name}-{kind}", check=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    try:
        for name in programs:
            command(name, "exec", "create", "{}")
            command(name, "exec", "start", "{}")
        yield command
    finally:
        for name in programs:
            command(name, "exec", "delete", "--force", "{}")
        for group in Path("/sys/fs/cgroup").glob("*/wherry-bench-oci"):
            group.rmdir()


def life(command: Callable[..., None], name: str) -> None:
    """One container's whole life."""
    for verb in (["create"], ["start"], ["delete", "--force"]):
        command(name, "once", *verb, "{}")


def through_docker(side: Side, name: str) -> None:
    """A container of dockerd's."""
    call = ["docker", "run", "--rm", "--network", "none", *FLAGS[name], NAME, "true"]
    checked(call, {**clean_environment(), "DOCKER_HOST": f"unix://{side.socket}"})


def write_bundle(directory: Path, args: list[str], cgroup: str) -> None:
    """Make a bundle with busybox in its root."""
    (directory / "rootfs").mkdir(parents=True)
    subprocess.run(["tar", "-xC", directory / "rootfs"], input=root_file_system(), check=True)
    spec = template(rootless=False)
    spec["process"] |= {"args": args, "terminal": False, "env": ["PATH=/bin"]}
    spec["linux"]["cgroupsPath"] = cgroup
    # runc 1.1 knows no cgroup namespace on version 1 beside the mount of the groups
    spec["linux"]["namespaces"] = [one for one in spec["linux"]["namespaces"] if one["type"] != "cgroup"]
    (directory / "config.json").write_text(json.dumps(spec))
