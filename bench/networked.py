"""The same engines once more, each in a network namespace of its own, with their bridges and packet filters.

So a run touches neither this machine's interfaces nor its firewall, and what is called the host in the rows about
networks is that namespace.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench import image
from bench.measure import Bench
from bench.sides import ROOT, Docker, Side, Wherry, run_directory

HOST = "198.51.100.7"
"""An address that the namespace has besides those of the bridges: documentation only, RFC 5737."""

_ENTER = ["unshare", "--net", "--", "sh", "-c"]
_PREPARE = (
    "ip link set lo up && ip link add up0 type veth peer name up1 && ip link set up1 up && "
    f'ip address add {HOST}/24 dev up0 && ip link set up0 up && exec "$@"'
)


class NetworkedDocker(Docker):
    """dockerd with its usual bridge and packet filter; the namespace's, not this machine's."""

    cgroup = "wherry-bench-docker-net"

    def command(self) -> list[str]:
        off = {"--bridge=none", "--iptables=false", "--ip-forward=false", "--ip-masq=false"}
        usual = [word for word in super().command() if word not in off]
        return [*_ENTER, _PREPARE, "sh", *usual, "--bip=172.30.7.1/24"]


class NetworkedWherry(Wherry):
    """wherryd, likewise."""

    def command(self) -> list[str]:
        return [*_ENTER, _PREPARE, "sh", *super().command()]


@contextmanager
def networked(bench: Bench) -> Iterator[Bench]:
    """The sides of `bench`, each with a network."""
    kinds: dict[str, type[Side]] = {"docker": NetworkedDocker, "wherry": NetworkedWherry}
    with ExitStack() as stack:
        running: list[Side] = []
        for name in [side.name for side in bench.sides]:
            data = Path(tempfile.mkdtemp(prefix=f"{name}-net-", dir=ROOT / ".bench"))
            side = kinds[name](data, run_directory(f"{name}-net"))
            stack.callback(side.remove)
            side.start()
            archive = side.run / "image.tar"
            image.write(archive)
            side.docker("load", "-i", str(archive))
            archive.unlink()
            running.append(side)
        yield Bench(running, bench.quick, bench.files)


def inside(pid: int, *command: str) -> list[str]:
    """The command that runs another in a process's network namespace."""
    return ["nsenter", f"--net=/proc/{pid}/ns/net", "--", *command]


def daemon_of(side: Side) -> int:
    """The process whose network namespace is the side's host.

    :raises RuntimeError: it does not run.
    """
    if side.process is None:
        raise RuntimeError(f"{side.name}'s daemon does not run")
    return side.process.pid


def process_of(side: Side, container: str) -> int:
    """The first process of a container."""
    return int(side.docker("inspect", "--format", "{{.State.Pid}}", container))


def run(pid: int, *command: str, timeout: float = 60) -> str:
    """Run a command in a process's network namespace; gives its standard output.

    :raises RuntimeError: when it fails.
    """
    done = subprocess.run(inside(pid, *command), capture_output=True, text=True, check=False, timeout=timeout)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout
