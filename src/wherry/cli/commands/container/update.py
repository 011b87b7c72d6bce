"""``wherry update``: update the limits and the restart policy of containers."""

from __future__ import annotations

from wherry.cli.console import write_error
from wherry.cli.flags.container import CONTAINER_FLAGS
from wherry.cli.flags.parser import STRING, Command, Flag
from wherry.cli.for_each import for_each

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run", "update_body"]

_LIMITS = frozenset(
    "blkio-weight cpu-period cpu-quota cpu-rt-period cpu-rt-runtime cpu-shares cpus cpuset-cpus "
    "cpuset-mems memory memory-reservation memory-swap pids-limit".split()
)

COMMAND = Command(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Update configuration (limits, restart policy) of one or more containers",
    (
        *(flag for flag in CONTAINER_FLAGS if flag.name in _LIMITS),
        Flag("restart", "", STRING, "Restart policy: no, always, unless-stopped, on-failure[:times]"),
    ),
    min_args=1,
    aliases="wherry container update, wherry update",
)


def update_body(options: Options) -> dict[str, Any]:
    """The body of ``POST /containers/{id}/update``, as the docker command sends it.

    :raises wherry.errors.InvalidInput: no flag is given, or the restart policy is invalid.
    """
    from wherry.cli.create.body import restart_policy

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
    """Update each container. :returns: 1 when one failed."""
    containers = context.client.containers
    body = update_body(options)

    def update(ref: str) -> None:
        for warning in containers.update(ref, body).get("Warnings") or ():
            write_error("{}\n", warning)

    return for_each(arguments, update)
