"""Names of containers, looked up from a container."""

from __future__ import annotations

import json
import subprocess
import sys

from bench.image import NAME
from bench.measure import Bench, Row
from bench.sides import ROOT, Side

LOOKUPS = 20_000
AT_ONCE = 20
CONTAINERS = 10
NETWORK = "bench-dns"


def measure(bench: Bench) -> list[Row]:
    """20,000 look-ups, 20 at a time; only wherry: Docker's server would need the rules that its side runs without."""
    total = bench.amount(LOOKUPS)
    samples = {side.name: one_side(side, total) for side in bench.sides if side.name == "wherry"}
    return [Row(f"DNS: {total:,} look-ups of container names, {AT_ONCE} at a time, median", "ms", samples, 1.0)]


def one_side(side: Side, total: int) -> list[float]:
    """The medians of three rounds."""
    side.docker("network", "create", NETWORK)
    names = [f"bench-dns-{number}" for number in range(CONTAINERS)]
    try:
        for name in names:
            side.docker("run", "-d", "--network", NETWORK, "--name", name, NAME, "sleep", "100000")
        pid = side.docker("inspect", "--format", "{{.State.Pid}}", names[0]).strip()
        return [look_up(pid, total, names) for _ in range(3)]
    finally:
        side.remove_containers()
        side.docker("network", "rm", NETWORK)


def look_up(pid: str, total: int, names: list[str]) -> float:
    """One round, from the network namespace of a container.

    :raises RuntimeError: when an answer was lost, or said something else than an address.
    """
    command = ["nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, "-m", "bench.lookups", str(total), str(AT_ONCE)]
    done = subprocess.run([*command, *names], cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
    figures = json.loads(done.stdout)
    if figures["lost"] or figures["wrong"]:
        raise RuntimeError(f"{figures['lost']} look-ups were lost, {figures['wrong']} were answered wrongly")
    return float(figures["median"])
