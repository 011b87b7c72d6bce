"""The engines that are compared, each started for this run alone and removed after it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench import image, machine
from bench.api import Api, ApiError

ROOT = Path(__file__).resolve().parent.parent
START_TIMEOUT = 30.0
SNAPSHOT_TIMEOUT = 20  # seconds; where none can be made there is none to wait for


def run_directory(name: str) -> Path:
    """Make a directory for what a side needs while it runs; the exec root in it is a tmpfs, as /run is everywhere."""
    run = Path(tempfile.mkdtemp(prefix=f"wherry-bench-{name}-"))
    (run / "exec").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", run / "exec"], check=True)
    return run


class Side:
    """An engine under measurement.

    :ivar name: ``docker`` or ``wherry``.
    :ivar data: its data root; what it keeps on disk is in there and nowhere else.
    :ivar start_up: seconds from the start of the daemon to its first answer; it was started at the time `began`.
    """

    name = ""

    def __init__(self, data: Path, run: Path) -> None:
        self.data = data
        self.run = run
        self.socket = str(run / "api.sock")
        self.log = run / "daemon.log"
        self.start_up = self.began = 0.0
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """The daemon's command line."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """The daemon's environment."""
        return dict(os.environ)

    def engine_processes(self) -> list[int]:
        """The engine's own processes, containers not among them."""
        raise NotImplementedError

    def start(self) -> None:
        """Start the daemon and wait for its first answer.

        :raises RuntimeError: when it ends, or says nothing for :data:`START_TIMEOUT`.
        """
        started = time.perf_counter()
        self.began = time.time()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(), env=self.environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        while not self.answers():
            if self.process.poll() is not None or time.perf_counter() - started > START_TIMEOUT:
                end = self.log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{self.name}'s daemon did not start:\n{end}")
            time.sleep(0.002)
        self.start_up = time.perf_counter() - started

    def answers(self) -> bool:
        """Whether the API answers a ping."""
        try:
            with Api(self.socket) as api:
                api.call("GET", "/version")
        except (OSError, ApiError):
            return False
        return True

    def be_as_usual(self) -> None:
        """Have behind it what happens once in a boot, or after a change of the sources."""

    def stop(self) -> None:
        """End the daemon and wait for it."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def remove(self) -> None:
        """Remove everything the engine made."""
        self.stop()
        for target in machine.mounts_under(self.data) + machine.mounts_under(self.run):
            subprocess.run(["umount", "-l", target], check=False)
        shutil.rmtree(self.data, ignore_errors=True)
        shutil.rmtree(self.run, ignore_errors=True)

    def docker(self, *arguments: str) -> str:
        """Run Docker's own client against this side; gives its standard output.

        :raises RuntimeError: when it fails.
        """
        return checked([client(), *arguments], {**clean_environment(), "DOCKER_HOST": f"unix://{self.socket}"})

    def docker_process(self, *arguments: str, stdout: int) -> subprocess.Popen[bytes]:
        """Docker's client, started and not waited for."""
        environment = {**clean_environment(), "DOCKER_HOST": f"unix://{self.socket}"}
        return subprocess.Popen([client(), *arguments], env=environment, stdin=subprocess.DEVNULL, stdout=stdout)

    def remove_containers(self) -> None:
        """Remove every container, running or not."""
        names = self.docker("ps", "-aq").split()
        if names:
            self.docker("rm", "-f", *names)


class Docker(Side):
    """Debian's dockerd, with the containerd that it starts itself."""

    name = "docker"
    cgroup = "wherry-bench-docker"

    def command(self) -> list[str]:
        return [
            "dockerd", f"--data-root={self.data}", f"--exec-root={self.run / 'exec'}", f"--pidfile={self.run / 'pid'}",
            f"--host=unix://{self.socket}", "--bridge=none", "--iptables=false", "--ip-forward=false",
            "--ip-masq=false", f"--cgroup-parent=/{self.cgroup}", f"--config-file={self.configuration()}",
            "--log-level=error",
        ]  # fmt: skip

    def configuration(self) -> Path:
        """With our runtime beside runc; this machine's own /etc/docker/daemon.json stays out of it."""
        path = self.run / "daemon.json"
        path.write_text(json.dumps({"runtimes": {"wherry": {"path": str(ROOT / "wherry-oci")}}}))
        return path

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}

    def engine_processes(self) -> list[int]:
        return machine.processes_naming(str(self.run))

    def remove(self) -> None:
        if self.process is not None and self.process.poll() is None and self.answers():
            self.remove_containers()
        super().remove()
        for pid in machine.processes_naming(str(self.run)):
            os.kill(pid, signal.SIGKILL)
        for directory, names, _ in os.walk("/sys/fs/cgroup"):  # a glob is upset by others' groups that go meanwhile
            if self.cgroup in names:  # a builder's steps leave groups of their own in it
                for below, _, _ in os.walk(Path(directory, self.cgroup), topdown=False):
                    Path(below).rmdir()


class Wherry(Side):
    """wherryd of this work tree."""

    name = "wherry"

    def command(self) -> list[str]:
        return [
            sys.executable, "-m", "wherry.daemon.main", "--data-root", str(self.data),
            "--exec-root", str(self.run / "exec"), "--pidfile", str(self.run / "pid"), "-H", f"unix://{self.socket}",
        ]  # fmt: skip

    def environment(self) -> dict[str, str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed wherry is compiled once
        return environment

    def be_as_usual(self) -> None:
        """The first daemon makes the startup snapshot that the following ones begin with."""
        place = ROOT / "src/wherry/daemon/__pycache__"
        if self.process and str(place) in os.readlink(f"/proc/{self.process.pid}/exe"):
            return
        for _ in range(SNAPSHOT_TIMEOUT):
            found = [one.stat() for one in place.glob("wherryd.*") if one.name.count(".") == 2]
            if any(one.st_size and one.st_mtime > self.began for one in found):
                break
            time.sleep(1)  # nothing tells of it: it is nobody's business but the next daemon's
        self.stop()
        self.start()

    def engine_processes(self) -> list[int]:
        pids = [int((self.run / "exec" / name).read_text()) for name in ("wherryd.pid", "keeper.pid")
                if (self.run / "exec" / name).exists()]  # fmt: skip
        own = self.process.pid if self.process else None
        return sorted({*pids, *([own] if own else [])})

    def wherry(self, *arguments: str) -> str:
        """Run wherry's own client against this side."""
        return checked([str(ROOT / "wherry"), "-H", f"unix://{self.socket}", *arguments], clean_environment())

    def stop(self) -> None:
        """End the keeper too, and every container: a later start is a cold one."""
        if self.process is not None and self.process.poll() is None and self.answers():
            self.wherry("system", "shutdown", "--kill")
        super().stop()

    def remove(self) -> None:
        pids = self.engine_processes()
        super().remove()
        for pid in pids:
            if Path(f"/proc/{pid}").exists():
                os.kill(pid, signal.SIGKILL)


def client() -> str:
    """Docker's client.

    :raises RuntimeError: when there is none.
    """
    path = f"{os.environ.get('PATH', '')}:{ROOT / '.cache/bin'}"
    found = shutil.which("docker", path=path)
    if not found:
        raise RuntimeError("no docker client on this machine: `make test` fetches one")
    return found


def clean_environment() -> dict[str, str]:
    """Ours, without what would send a client elsewhere."""
    dropped = {"DOCKER_HOST", "DOCKER_CONTEXT", "WHERRY_HOST"}
    return {name: value for name, value in os.environ.items() if name not in dropped}


def checked(command: list[str], environment: dict[str, str]) -> str:
    """Run a command; gives its standard output.

    :raises RuntimeError: with its standard error, when it fails.
    """
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=600
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: status {done.returncode}: {done.stderr.strip()}")
    return done.stdout


@contextmanager
def started(only: str | None = None) -> Iterator[list[Side]]:
    """The sides that this machine has, running, each with the image loaded; all is removed at the end."""
    with ExitStack() as stack:
        running: list[Side] = []
        kinds: list[type[Side]] = [Docker, Wherry]
        for kind in kinds:
            if (only and kind.name != only) or (kind is Docker and not docker_installed()):
                continue
            (ROOT / ".bench").mkdir(exist_ok=True)
            data = Path(tempfile.mkdtemp(prefix=f"{kind.name}-", dir=ROOT / ".bench"))
            side = kind(data, run_directory(kind.name))
            stack.callback(side.remove)
            stack.callback(_finish_in_peace)
            side.start()
            archive = side.run / "image.tar"
            image.write(archive)
            side.docker("load", "-i", str(archive))
            archive.unlink()
            side.be_as_usual()
            running.append(side)
        yield running


def _finish_in_peace() -> None:
    """From here on nobody interrupts: what is not stopped now would stay."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def docker_installed() -> bool:
    """Whether this machine has Docker's daemon."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    return all(shutil.which(name, path=path) for name in ("dockerd", "containerd"))
