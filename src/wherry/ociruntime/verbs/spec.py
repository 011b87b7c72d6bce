"""``wherry-oci spec``: write a specification to begin with."""

from __future__ import annotations

import json
import os
from typing import Any, Final

from wherry.errors import Conflict, InvalidInput
from wherry.oci.runtime_spec import VERSION
from wherry.ociruntime.call import Call
from wherry.ociruntime.flags import parse

__all__ = ["ARGUMENTS", "FLAGS", "run", "template"]

FLAGS = {"bundle": True, "rootless": False}
ARGUMENTS = ""
_CAPABILITIES: Final = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")
_MASKED: Final = (
    "/proc/acpi /proc/asound /proc/kcore /proc/keys /proc/latency_stats /proc/timer_list /proc/timer_stats "
    "/proc/sched_debug /sys/firmware /proc/scsi"
).split()
_READ_ONLY: Final = "/proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger".split()


def run(call: Call, arguments: list[str]) -> int:
    """Write ``config.json``.

    :raises Conflict: there is one.
    """
    flags, rest = parse(arguments, FLAGS, short={"b": "bundle"})
    if rest:
        raise InvalidInput('"spec" takes no arguments')
    path = os.path.join(flags.text("bundle", "."), "config.json")
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        raise Conflict(f"file {path} exists; remove it first") from None
    with open(fd, "w", encoding="utf-8") as file:
        json.dump(template(rootless=flags.is_on("rootless")), file, indent="\t")
        file.write("\n")
    return 0


def template(*, rootless: bool) -> dict[str, Any]:
    """Return a specification of a shell in ``rootfs``.

    :param rootless: for who is not root: in a user namespace, and without what only root may mount.
    """
    kinds = ["pid", "network", "ipc", "uts", "mount", "cgroup"]
    linux: dict[str, Any] = {
        "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        "namespaces": [{"type": kind} for kind in kinds],
        "maskedPaths": _MASKED,
        "readonlyPaths": _READ_ONLY,
    }
    if rootless:
        del linux["resources"]
        linux["namespaces"] = [{"type": kind} for kind in [*(kind for kind in kinds if kind != "network"), "user"]]
        linux["uidMappings"] = [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
        linux["gidMappings"] = [{"containerID": 0, "hostID": os.getegid(), "size": 1}]
    return {
        "ociVersion": VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), _CAPABILITIES),
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "wherry",
        "mounts": _mounts(rootless=rootless),
        "linux": linux,
    }


def _mounts(*, rootless: bool) -> list[dict[str, Any]]:
    def mount(destination: str, kind: str, source: str, options: str = "") -> dict[str, Any]:
        found: dict[str, Any] = {"destination": destination, "type": kind, "source": source}
        return {**found, "options": options.split()} if options else found

    group = "" if rootless else " gid=5"
    sys = mount("/sys", "sysfs", "sysfs", "nosuid noexec nodev ro")
    return [
        mount("/proc", "proc", "proc"),
        mount("/dev", "tmpfs", "tmpfs", "nosuid strictatime mode=755 size=65536k"),
        mount("/dev/pts", "devpts", "devpts", f"nosuid noexec newinstance ptmxmode=0666 mode=0620{group}"),
        mount("/dev/shm", "tmpfs", "shm", "nosuid noexec nodev mode=1777 size=65536k"),
        mount("/dev/mqueue", "mqueue", "mqueue", "nosuid noexec nodev"),
        mount("/sys", "none", "/sys", "rbind nosuid noexec nodev ro") if rootless else sys,
        *([] if rootless else [mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid noexec nodev relatime ro")]),
    ]
