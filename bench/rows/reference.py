"""Smaller tools that start a process in namespaces, for orientation: no image, no daemon, no log."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench import image
from bench.measure import Bench, Row, milliseconds

ROUNDS = 20


def measure(bench: Bench) -> list[Row]:
    """``true`` by each tool that is installed."""
    with tempfile.TemporaryDirectory(prefix="wherry-bench-") as directory:
        rootfs = unpacked(Path(directory))
        commands: dict[str, Callable[[], Callable[[], None]]] = {
            "runc": lambda: runc(Path(directory)),
            "bwrap": lambda: bwrap(rootfs),
        }
        rows = []
        for name, command in commands.items():
            if shutil.which(name):
                rows.append(row(name, command(), bench.amount(ROUNDS)))
        return rows


def row(name: str, command: Callable[[], None], rounds: int) -> Row:
    """The median of some rounds."""
    command()
    return Row(f"`{name}`", "ms", {name: [milliseconds(command) for _ in range(rounds)]})


def unpacked(directory: Path) -> Path:
    """The root file system of the image, as a directory."""
    rootfs = directory / "rootfs"
    rootfs.mkdir()
    subprocess.run(["tar", "-x", "-C", str(rootfs)], input=image.root_file_system(), check=True)
    return rootfs


def runc(bundle: Path) -> Callable[[], None]:
    """``runc run`` with its own example specification."""
    subprocess.run(["runc", "spec", "-b", str(bundle)], check=True)
    config = json.loads((bundle / "config.json").read_text())
    config["process"] |= {"args": ["true"], "terminal": False, "rlimits": []}
    (bundle / "config.json").write_text(json.dumps(config))
    return quiet(["runc", "--root", str(bundle / "state"), "run", "-b", str(bundle), "wherry-bench-runc"])


def bwrap(rootfs: Path) -> Callable[[], None]:
    """bubblewrap with every namespace of its own."""
    return quiet(["bwrap", "--bind", str(rootfs), "/", "--proc", "/proc", "--dev", "/dev", "--unshare-all", "true"])


def quiet(command: list[str]) -> Callable[[], None]:
    """A command to run again and again."""

    def run() -> None:
        subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=True)

    return run
