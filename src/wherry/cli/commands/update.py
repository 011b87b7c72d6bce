"""``wherry update``: change a container's limits while it runs."""

from __future__ import annotations

import sys

from wherry.cli.each import for_each
from wherry.cli.flags import INT, STRING, Command, Flag
from wherry.cli.kinds import BYTES, BYTES_OR_MINUS_ONE, CPUS, UINT16

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run", "update_body"]

COMMAND = Command(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Change the limits of containers, also while they run",
    (
        Flag("blkio-weight", "", UINT16, "Share of disk time, 10 to 1000; 0 leaves it to the kernel"),
        Flag("cpu-period", "", INT, "Microseconds over which --cpu-quota is counted"),
        Flag("cpu-quota", "", INT, "Microseconds of processor time in each period"),
        Flag("cpu-rt-period", "", INT, "Microseconds over which --cpu-rt-runtime is counted"),
        Flag("cpu-rt-runtime", "", INT, "Microseconds of real-time processor time in each period"),
        Flag("cpu-shares", "c", INT, "Share of processor time when others want it too"),
        Flag("cpus", "", CPUS, "Processors to use at most (1.5)"),
        Flag("cpuset-cpus", "", STRING, "Processors that may be used (0-3, 0,1)"),
        Flag("cpuset-mems", "", STRING, "Memory nodes that may be used (0-3, 0,1)"),
        Flag("memory", "m", BYTES, "Memory to use at most (512m, 2g)"),
        Flag("memory-reservation", "", BYTES, "Memory to be pushed back to when the machine runs short"),
        Flag("memory-swap", "", BYTES_OR_MINUS_ONE, "Memory and swap together; -1 is no limit"),
        Flag("pids-limit", "", INT, "Processes and threads at most; -1 is no limit"),
        Flag("restart", "", STRING, "Start again: no, always, unless-stopped, on-failure[:times]"),
    ),
    least=1,
    aliases="wherry container update, wherry update",
)


def update_body(options: Options) -> dict[str, Any]:
    """The body of ``POST /containers/{id}/update``, as the docker command sends it.

    :raises wherry.errors.InvalidInput: no flag, or a restart policy that is none.
    """
    from wherry.cli.create_body import restart_policy

    if not options.given:
        from wherry.errors import InvalidInput

        raise InvalidInput("you must provide one or more flags when using this command")
    policy = {"Name": "", "MaximumRetryCount": 0}
    return {
        "CpuShares": options["cpu-shares"],
        "Memory": options["memory"],
        "NanoCpus": options["cpus"],
        "CgroupParent": "",
        "BlkioWeight": options["blkio-weight"],
        "BlkioWeightDevice": None,
        "BlkioDeviceReadBps": None,
        "BlkioDeviceWriteBps": None,
        "BlkioDeviceReadIOps": None,
        "BlkioDeviceWriteIOps": None,
        "CpuPeriod": options["cpu-period"],
        "CpuQuota": options["cpu-quota"],
        "CpuRealtimePeriod": options["cpu-rt-period"],
        "CpuRealtimeRuntime": options["cpu-rt-runtime"],
        "CpusetCpus": options["cpuset-cpus"],
        "CpusetMems": options["cpuset-mems"],
        "Devices": None,
        "DeviceCgroupRules": None,
        "DeviceRequests": None,
        "MemoryReservation": options["memory-reservation"],
        "MemorySwap": options["memory-swap"],
        "MemorySwappiness": None,
        "OomKillDisable": None,
        "PidsLimit": options["pids-limit"] if "pids-limit" in options.given else None,
        "Ulimits": None,
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
        "RestartPolicy": restart_policy(options["restart"]) if options["restart"] else policy,
    }


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Change them. :returns: 1 when one failed."""
    containers = context.client.containers
    body = update_body(options)

    def update(ref: str) -> None:
        for warning in containers.update(ref, body).get("Warnings") or ():
            sys.stderr.write(f"{warning}\n")

    return for_each(arguments, update)
