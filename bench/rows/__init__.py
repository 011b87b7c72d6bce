"""The rows of the table, in groups that can be asked for by name."""

from __future__ import annotations

from collections.abc import Callable

from bench.measure import Bench, Row
from bench.rows import (
    api,
    attach,
    build,
    burst,
    copies,
    dns,
    engine,
    exec_,
    idle,
    images,
    init,
    log_drivers,
    logs,
    network,
    oci,
    real_image,
    reference,
    registry,
    run,
    scale,
    starts,
    transfer,
    volumes,
)

GROUPS: dict[str, Callable[[Bench], list[Row]]] = {
    "engine": engine.measure,
    "run": run.measure,
    "api": api.measure,
    "starts": starts.measure,
    "exec": exec_.measure,
    "init": init.measure,
    "idle": idle.measure,
    "logs": logs.measure,
    "log_drivers": log_drivers.measure,
    "attach": attach.measure,
    "burst": burst.measure,
    "copies": copies.measure,
    "dns": dns.measure,
    "images": images.measure,
    "build": build.measure,
    "real_image": real_image.measure,
    "network": network.measure,
    "transfer": transfer.measure,
    "registry": registry.measure,
    "volumes": volumes.measure,
    "oci": oci.measure,
    "scale": scale.measure,
    "reference": reference.measure,
}
