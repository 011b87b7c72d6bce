"""Bundles with a busybox root, and ``wherry-oci`` on them, as a caller runs it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import quiet
from machine import static_busybox
from support.oci_launcher import COMMAND
from support.processes import wait_for
from support.runtime_harness import PROGRAMS
from wherry.ociruntime.verbs.spec import template


class Console:
    """Takes a terminal's master, and is at it then."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(1)
        self._listener.settimeout(quiet.patience(60))
        self._master = -1

    def __enter__(self) -> Console:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        if self._master >= 0:
            os.close(self._master)

    def master(self) -> int:
        """The master, once it has come."""
        if self._master < 0:
            connection, _ = self._listener.accept()
            with connection:
                _, (self._master,), _, _ = socket.recv_fds(connection, 100, 1)
        return self._master

    def sees(self, text: bytes) -> None:
        """Read until a text has come."""
        seen = b""
        while text not in seen:
            assert select.select([self.master()], [], [], quiet.patience(60))[0], seen
            seen += os.read(self.master(), 1000)

    def types(self, text: bytes) -> None:
        """Write a text."""
        os.write(self.master(), text)


class Bundles:
    """A directory with bundles, and a root of containers.

    :param command: another runtime's, to compare with.
    """

    def __init__(self, directory: Path, command: list[str] | None = None) -> None:
        self.directory = directory
        self.root = directory / "root"
        self.command = [*(command or COMMAND), "--root", str(self.root)]
        self._names: list[str] = []

    def bundle(self, name: str, *args: str, **changes: Any) -> Path:
        """Make a bundle; `changes` replace parts of its process, and ``whole`` of all."""
        path = self.directory / name
        _busybox_root(path / "rootfs")
        spec = template(rootless=False)
        whole = changes.pop("whole", {})
        spec["process"] |= {"args": list(args), "terminal": False, **changes}
        spec["linux"]["cgroupsPath"] = f"/wherry-test/{os.getpid()}-{name}"
        spec = {**spec, **{key: value for key, value in whole.items() if key != "linux"}}
        spec["linux"] |= whole.get("linux", {})
        self.write(path, spec)
        self._names.append(name)
        return path

    @staticmethod
    def write(path: Path, spec: Any) -> None:
        """Replace a bundle's specification."""
        (path / "config.json").write_text(json.dumps(spec))

    def __call__(self, *arguments: str, **how: Any) -> subprocess.CompletedProcess[str]:
        """Run the command; an error does not raise."""
        how.setdefault("stdin", subprocess.DEVNULL)
        how.setdefault("timeout", quiet.patience(30))
        return subprocess.run([*self.command, *arguments], capture_output=True, text=True, check=False, **how)

    def do(self, *arguments: str, **how: Any) -> str:
        """Run the command, which must succeed; its output."""
        done = self(*arguments, **how)
        assert done.returncode == 0, done
        return done.stdout

    def to_file(self, name: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """Run the command; what it writes, and the container of that name, goes to a file."""
        with open(self.directory / f"{name}.out", "wb") as out:
            return subprocess.run(
                [*self.command, *arguments],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=False, timeout=quiet.patience(60),
            )  # fmt: skip

    @contextmanager
    def console(self) -> Iterator[Console]:
        """A socket that takes a terminal."""
        with tempfile.TemporaryDirectory() as directory, Console(f"{directory}/console") as console:
            yield console

    def create(self, name: str, *flags: str, start: bool = False) -> int:
        """Make a container of the bundle of that name; its process ID.

        A container's streams are files: who reads a pipe would wait for the container.
        """
        done = self.to_file(name, "create", "--bundle", str(self.directory / name), *flags, name)
        assert done.returncode == 0, self.output(name)
        if start:
            self.do("start", name)
        return int(self.state(name)["pid"])

    def output(self, name: str) -> str:
        """What a created container has written."""
        return (self.directory / f"{name}.out").read_text()

    def state(self, name: str) -> dict[str, Any]:
        """What ``state`` prints."""
        found: dict[str, Any] = json.loads(self.do("state", name))
        return found

    def becomes(self, name: str, status: str) -> None:
        """Wait until a container is in a state."""
        wait_for(lambda: self.state(name)["status"] == status)

    def left(self) -> list[str]:
        """The containers whose directories are there."""
        return os.listdir(self.root) if self.root.exists() else []

    def clean_up(self) -> None:
        """Remove all containers."""
        for name in self.left():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self("delete", "--force", name)
        remove_empty_groups("wherry-test")


def remove_empty_groups(*names: str) -> None:
    """Remove control groups that runtimes make for others to be in, and leave behind; not those in use."""
    for place in (Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir()):
        for name in names:
            for group in sorted((place / name).glob("**/"), reverse=True):
                with contextlib.suppress(OSError):
                    group.rmdir()


def _busybox_root(rootfs: Path) -> None:
    busybox = static_busybox()
    assert busybox is not None
    (rootfs / "bin").mkdir(parents=True, exist_ok=True)
    shutil.copy(busybox, rootfs / "bin/busybox")
    for program in PROGRAMS:
        with contextlib.suppress(FileExistsError):
            (rootfs / "bin" / program).symlink_to("busybox")


@contextmanager
def bundles_in(directory: Path, command: list[str] | None = None) -> Iterator[Bundles]:
    """Bundles whose containers are gone afterwards."""
    bundles = Bundles(directory, command)
    try:
        yield bundles
    finally:
        bundles.clean_up()
