"""Daemons of the tests' own: wherry's, and for comparison Docker's; each with its own roots, socket and cgroup."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import quiet
from support import unixhttp, zygote
from support.needs import ROOT, program
from support.network_objects import network_objects, remove_network_objects
from support.oci_launcher import launcher
from support.relay import relayed

START_TIMEOUT = quiet.patience(120)  # seconds
TIMEOUT = quiet.patience(180)  #: seconds for a command
PROGRAM = "wherry.daemon.main"
SOURCE = str(ROOT / "src")


class DaemonError(AssertionError):
    """A daemon did not do what it has to do before a test can begin; the message has the end of its log."""


class Daemon:
    """A ``wherryd``, and the commands that talk to it.

    :cvar copied: it begins as a copy of a process that has its modules.
    :cvar place: the directory for its files; by default that of temporary files.
    :ivar network: path of the network namespace that it is in, if it is not the tests'.
    """

    copied = True
    place: str | None = None

    def __init__(self, *flags: str) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="wherry-e2e-", dir=self.place))
        self.data_root = self.root / "data"
        self.exec_root = self.root / "run"
        self.socket = str(self.exec_root / "wherry.sock")
        self.host = f"unix://{self.socket}"
        self.cgroup = self.root.name
        self.flags = flags
        self.process: subprocess.Popen[bytes] | zygote.Copy | None = None
        self.network = ""
        self._log = self.root / "log"

    # --- its life

    @property
    def environment(self) -> dict[str, str]:
        """What wherry's programs need to be found."""
        return {**os.environ, "PYTHONPATH": SOURCE, "PYTHONWARNINGS": "default"}

    @property
    def command(self) -> list[str]:
        """The daemon's command line. Who ignores a signal, as a process 1 does, is not waited for at the end."""
        enter = [shutil.which("nsenter") or "nsenter", f"--net={self.network}"] if self.network else []
        roots = ["--data-root", str(self.data_root), "--exec-root", str(self.exec_root)]
        options = ["--cgroup-parent", self.cgroup, "--shutdown-timeout", "1", *self.flags]
        return [*enter, sys.executable, "-m", PROGRAM, *roots, *options]

    def start(self) -> float:
        """Start it and return the seconds until it answered."""
        began = time.monotonic()
        with self._log.open("ab") as log, open(os.devnull, "rb") as nothing:
            self.process = self._begin(nothing.fileno(), log.fileno(), log.fileno())
        self._wait_for_answer(began + START_TIMEOUT)
        return time.monotonic() - began

    def _begin(self, stdin: int, stdout: int, stderr: int) -> subprocess.Popen[bytes] | zygote.Copy:
        command, environment = self.command, self.environment
        if self.copied and PROGRAM in command and environment["PYTHONPATH"] == SOURCE:
            arguments = command[command.index(PROGRAM) + 1 :]
            return zygote.begin(PROGRAM, arguments, environment, (stdin, stdout, stderr), self.network)
        return subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr, env=environment, cwd="/")

    def _wait_for_answer(self, deadline: float) -> None:
        assert self.process
        while True:
            with suppress(OSError):
                if self.request("GET", "/_ping").status == 200:
                    return
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise DaemonError(f"wherryd does not answer; its log ends so:\n{self.log_tail()}")
            time.sleep(0.01)

    def stop(self) -> int:
        """End it as a service manager does; containers go on. Return its exit code."""
        return self._end(signal.SIGTERM)

    def kill9(self) -> None:
        """Let it die without a word."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """End it and start it again."""
        self.stop()
        self.start()

    def _end(self, number: signal.Signals) -> int:
        assert self.process
        self.process.send_signal(number)
        try:
            return self.process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise DaemonError(f"wherryd did not end at {number.name}; its log ends so:\n{self.log_tail()}") from None

    @property
    def pid(self) -> int:
        """The daemon's process ID."""
        assert self.process
        return self.process.pid

    @property
    def keeper_pid(self) -> int:
        """The keeper's process ID."""
        return int((self.exec_root / "keeper.pid").read_text())

    def open_files(self) -> int:
        """How many descriptors the daemon has."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def log_size(self) -> int:
        """How long its log is by now."""
        return self._log.stat().st_size

    def log_text(self, after: int = 0) -> str:
        """Its log, or what came to it since it had so many bytes."""
        return self._log.read_bytes()[after:].decode(errors="replace")

    def log_tail(self, lines: int = 40) -> str:
        """The end of its log, and of the keeper's."""
        tail = [self._tail(self._log, lines), self._tail(self.exec_root / "keeper.log", 10)]
        return "\n-- keeper:\n".join(text for text in tail if text)

    @staticmethod
    def _tail(path: Path, lines: int) -> str:
        try:
            return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return ""

    # --- talking to it

    def request(self, method: str, target: str, body: Any = None, **query: Any) -> unixhttp.Answer:
        """Ask it by hand."""
        return unixhttp.request(self.socket, method, target, body, **query)

    def cli(
        self,
        *arguments: str,
        input: str | bytes | None = None,
        timeout: float = TIMEOUT,
        check: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run wherry's command."""
        command = [sys.executable, "-m", "wherry.cli.main", "-H", self.host, *arguments]
        return _run(command, self.environment, input, timeout, check)

    def docker(
        self,
        *arguments: str,
        input: str | bytes | None = None,
        timeout: float = TIMEOUT,
        check: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run the stock docker command."""
        return _run(
            [program("docker") or "docker", *arguments], docker_environment(self.host, self.root), input, timeout, check
        )

    @contextmanager
    def following(self, *arguments: str) -> Iterator[Iterator[str]]:
        """The lines of a docker command that does not end by itself, as they come."""
        command = [program("docker") or "docker", *arguments]
        environment, none = docker_environment(self.host, self.root), subprocess.DEVNULL
        with subprocess.Popen(
            command, env=environment, stdin=none, stdout=subprocess.PIPE, stderr=none, text=True
        ) as process:
            assert process.stdout is not None
            yield iter(process.stdout.readline, "")
            process.kill()

    # --- its end

    def remove_containers(self) -> None:
        """Remove every container, and every volume of its own: of a plugin's, other daemons' tests may have some."""
        for container in self.request("GET", "/containers/json", all=True).json:
            self.request("DELETE", f"/containers/{container['Id']}", force=True, v=True)
        for volume in self.request("GET", "/volumes").json["Volumes"]:
            if volume["Driver"] == "local":
                self.request("DELETE", f"/volumes/{volume['Name']}")

    def revive(self) -> None:
        """Start it if it has ended, and remove what a test has left: containers, volumes, networks."""
        if self.process is None or self.process.poll() is not None:
            self.start()
        self.remove_containers()
        for network in self.request("GET", "/networks").json:
            if network["Name"] not in ("bridge", "host", "none"):
                answer = self.request("DELETE", f"/networks/{network['Id']}")
                assert answer.status == 204, answer.body

    def shut_down(self) -> None:
        """End it with everything that it runs, and fail if anything is left."""
        if self.process is None:
            return
        try:
            if self.process.poll() is None:
                answer = self.request("POST", "/wherry/shutdown", kill=True)
                assert answer.status in (200, 204), answer.body  # 200: forwarding stays on for another daemon
                self.process.wait(TIMEOUT)
            left = self.leftovers()
            assert not left, "\n".join(["left on the machine:", *left, self.log_tail()])
        finally:
            self.destroy()

    def unfinished(self) -> list[str]:
        """What is in ``tmp/``, but for the context of the last build, which stays a while for the next one."""
        names = os.listdir(self.data_root / "tmp")
        contexts = [path.name for path in (self.data_root / "tmp/contexts").glob("*")]
        return [name for name in (*names, *contexts) if name != "contexts" and not name.startswith("spare-")]

    def leftovers(self) -> list[str]:
        """What of this daemon is still on the machine: mounts, cgroups, processes, files of the exec root."""
        mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(self.root) in line]
        files = [str(Path(top, name)) for top, *names in os.walk(self.exec_root) for name in (*names[0], *names[1])]
        groups = [f"{path}: {below(path)}" for path in cgroups(self.cgroup)]
        found = [*mounts, *groups, *self._processes(), *files]
        return [*found, *network_objects(self.exec_root)]

    def _processes(self) -> list[str]:
        found = []
        for directory in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words = (directory / "cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
                if str(self.exec_root) in words or str(self.data_root) in words:
                    found.append(f"{directory.name}: {words}")
        return found

    def destroy(self) -> None:
        """Whatever happened: leave nothing behind."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for line in self._processes():
            with suppress(ProcessLookupError):
                os.kill(int(line.partition(":")[0]), signal.SIGKILL)
        for group in cgroups(self.cgroup):
            for directory, _, _ in os.walk(group, topdown=False):
                _kill_cgroup(Path(directory))
        remove_network_objects(self.exec_root)
        shutil.rmtree(self.root, ignore_errors=True)


class LastingDaemon(Daemon):
    """A daemon for many tests: it begins as one does for users, and has its files on a disk.

    In the virtual machine it is a copy, too: to import everything once more takes half a minute there.
    """

    copied = "WHERRY_VM" in os.environ

    def __init__(self, *flags: str) -> None:
        self.place = tempfile.gettempdir()
        super().__init__(*flags)


@contextmanager
def in_memory() -> Iterator[None]:
    """Have the files of daemons that come and go in memory: to make and remove them costs a disk more than the tests.

    That a kill loses nothing is not about the disk. What is, has one of its own (`quota_disks`, and attacks' small
    ones), or is about the daemon that many tests share.
    """
    place = tempfile.mkdtemp(prefix="wherry-memory-")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755,size=4g", "tests", place], check=True)
    former, Daemon.place = Daemon.place, place
    try:
        yield
    finally:
        Daemon.place = former
        subprocess.run(["umount", "-l", place], check=True)
        os.rmdir(place)


def cgroups(name: str) -> list[Path]:
    """The control groups of that name. `os.walk`, unlike pathlib, is not upset by others' groups that go meanwhile."""
    return [Path(directory, name) for directory, names, _ in os.walk("/sys/fs/cgroup") if name in names]


def below(group: Path) -> list[str]:
    """What keeps a control group: those in it, and processes."""
    found = [str(path.relative_to(group)) for path in group.rglob("*") if path.is_dir()]
    with suppress(OSError):
        found += (group / "cgroup.procs").read_text().split()
    return found


def _kill_cgroup(directory: Path) -> None:
    for name, word in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):  # who is frozen does not end
        with suppress(OSError):
            (directory / name).write_text(word)
    for _ in range(500):
        with suppress(OSError):
            for pid in (directory / "cgroup.procs").read_text().split():
                os.kill(int(pid), signal.SIGKILL)
            directory.rmdir()
            return
        time.sleep(0.02)


class DockerDaemon:
    """Docker's daemon, to prove a test on (STYLE: a test is proven on a reference).

    It has a network namespace of its own: told to have no bridge, it removes ``docker0``, whoever's it is. What listens
    on the tests' loopback it finds on its own when it was `shown` the port.
    """

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="dockerd-e2e-"))
        self.socket = str(self.root / "docker.sock")
        self.host = f"unix://{self.socket}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, with a loopback interface for all its network."""
        roots = ["--data-root", f"{self.root}/data", "--exec-root", f"{self.root}/run", "-p", f"{self.root}/pid"]
        network = ["--iptables=false", "--ip6tables=false", "--bridge=none", "--ip-forward=false", "--ip-masq=false"]
        apart = ["unshare", "--net", "--", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
        runtime = ["--add-runtime", f"wherry={launcher(self.root)}"]
        command = [*apart, program("dockerd") or "dockerd", *roots, *network, *runtime, "-H", self.host]
        with (self.root / "log").open("wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            with suppress(OSError):
                if self.request("GET", "/_ping").status == 200:
                    return
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise DaemonError((self.root / "log").read_text(errors="replace")[-3000:])
            time.sleep(0.05)

    def request(self, method: str, target: str, body: Any = None, **query: Any) -> unixhttp.Answer:
        """Ask it by hand."""
        return unixhttp.request(self.socket, method, target, body, **query)

    def shown(self, host: str) -> AbstractContextManager[None]:
        """Let it find at its loopback what listens at ours.

        :param host: as in the name of an image, ``127.0.0.1:5000``.
        """
        assert self.process
        return relayed(f"/proc/{self.process.pid}/ns/net", int(host.rpartition(":")[2]))

    def shut_down(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(TIMEOUT)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
            if str(self.root) in line:
                subprocess.run(["umount", "-l", line.split()[4]], check=False)
        shutil.rmtree(self.root, ignore_errors=True)


def docker_environment(host: str, home: Path) -> dict[str, str]:
    """An environment in which the stock docker command talks to a daemon and reads nobody's configuration."""
    return {
        **os.environ,
        "DOCKER_HOST": host,
        "DOCKER_CONFIG": str(home / "docker-config"),
        "DOCKER_CLI_HINTS": "false",
    }


def _run(
    command: list[str], environment: dict[str, str], given: str | bytes | None, timeout: float, check: bool
) -> subprocess.CompletedProcess[str]:
    data = given.encode() if isinstance(given, str) else given
    feed: dict[str, Any] = {"stdin": subprocess.DEVNULL} if data is None else {"input": data}
    done = subprocess.run(command, env=environment, capture_output=True, timeout=timeout, check=False, **feed)
    result = subprocess.CompletedProcess(
        command, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    )
    if check and result.returncode:
        raise DaemonError(f"{' '.join(command)} ended with {result.returncode}:\n{result.stdout}{result.stderr}")
    return result
