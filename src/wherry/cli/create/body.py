"""The body of ``POST /containers/create``, from flags.

The body is, field by field, what the ``docker`` command sends for the same flags (recorded; see
tests/unit/cli/test_create_body.py), so that any daemon understands the two alike.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from wherry.cli.flags.parser import Options

__all__ = ["create_body", "restart_policy"]


def _invalid(message: str) -> Exception:
    from wherry.errors import InvalidInput

    return InvalidInput(message)


def _resolve_aliases(options: Options) -> None:
    """``--net``, ``--net-alias`` and ``--dns-opt`` are older names of other flags."""
    for old, new in (("net", "network"), ("net-alias", "network-alias"), ("dns-opt", "dns-option")):
        if old in options.given:
            options[new] = [*options[new], *options[old]]
            options.given.add(new)


def create_body(options: Options, image: str, command: Sequence[str]) -> dict[str, Any]:
    """The body that the flags describe.

    :param options: the values of :data:`wherry.cli.flags.container.CONTAINER_FLAGS`.
    :param image: as it was typed.
    :param command: the arguments after it.
    :raises wherry.errors.InvalidInput: conflicting flags, or a file cannot be read.
    """
    _resolve_aliases(options)
    body = _config(options, image, command)
    mode, networking = _networking(options)
    body["HostConfig"] = _host_config(options, mode, body.pop("PortBindings"), body.pop("Binds"))
    body["NetworkingConfig"] = {"EndpointsConfig": networking}
    return body


def _config(options: Options, image: str, command: Sequence[str]) -> dict[str, Any]:
    exposed, bindings = _ports(options)
    binds, anonymous = _volumes(options)
    attach = options["attach"]
    stdin = options["interactive"]
    body: dict[str, Any] = {
        "Hostname": options["hostname"],
        "Domainname": options["domainname"],
        "User": options["user"],
        "AttachStdin": stdin or "stdin" in attach,
        "AttachStdout": not attach or "stdout" in attach,
        "AttachStderr": not attach or "stderr" in attach,
        "Tty": options["tty"],
        "OpenStdin": stdin,
        "StdinOnce": stdin,
        "Env": _environment(options) or None,
        "Cmd": list(command) or None,
        "Image": image,
        "Volumes": anonymous,
        "WorkingDir": options["workdir"],
        "Entrypoint": [options["entrypoint"]] if "entrypoint" in options.given else None,
        "OnBuild": None,
        "Labels": _labels(options),
        "PortBindings": bindings,
        "Binds": binds,
    }
    if exposed:
        body["ExposedPorts"] = exposed
    if options["stop-signal"]:
        body["StopSignal"] = options["stop-signal"]
    if "stop-timeout" in options.given:
        body["StopTimeout"] = options["stop-timeout"]
    if any(name.startswith(("health-", "no-health")) for name in options.given):
        body["Healthcheck"] = _health(options)
    return body


def _ports(options: Options) -> tuple[dict[str, Any], dict[str, Any]]:
    if not options["publish"] and not options["expose"]:
        return {}, {}
    from wherry.cli.flags.ports import port_bindings

    return port_bindings(options["publish"], options["expose"])


def _volumes(options: Options) -> tuple[list[str], dict[str, Any]]:
    if not options["volume"]:
        return [], {}
    from wherry.cli.flags.mounts import split_volumes

    return split_volumes(options["volume"])


def _environment(options: Options) -> list[str]:
    result: list[str] = []
    for path in options["env-file"]:
        from wherry.cli.flags.environment import read_env_file

        result += read_env_file(path)
    return [*result, *options["env"]]


def _labels(options: Options) -> dict[str, str]:
    result: dict[str, str] = {}
    for path in options["label-file"]:
        from wherry.cli.flags.environment import read_label_file

        result.update(read_label_file(path))
    result.update(options["label"])
    return result


def _health(options: Options) -> dict[str, Any]:
    timed = (
        ("Interval", "health-interval"),
        ("Timeout", "health-timeout"),
        ("StartPeriod", "health-start-period"),
        ("StartInterval", "health-start-interval"),
        ("Retries", "health-retries"),
    )
    if options["no-healthcheck"]:
        if any(name.startswith("health-") for name in options.given):
            raise _invalid("--no-healthcheck conflicts with --health-* options")
        return {"Test": ["NONE"]}
    result: dict[str, Any] = {}
    if options["health-cmd"]:
        result["Test"] = ["CMD-SHELL", options["health-cmd"]]
    for field, flag in timed:
        if options[flag] < 0:
            raise _invalid(f"--{flag} cannot be negative")
        if options[flag]:
            result[field] = options[flag]
    return result


def _networking(options: Options) -> tuple[str, dict[str, Any]]:
    from wherry.cli.flags.networks import endpoints

    return endpoints(options)


def restart_policy(text: str) -> dict[str, Any]:
    """Read ``always``, ``on-failure:3`` ..."""
    name, colon, times = text.partition(":")
    if colon and not name:
        raise _invalid("invalid restart policy format: no policy provided before colon")
    if not colon:
        return {"Name": name, "MaximumRetryCount": 0}
    try:
        return {"Name": name, "MaximumRetryCount": int(times)}
    except ValueError:
        raise _invalid("invalid restart policy format: maximum retry count must be an integer") from None


def _log_config(options: Options) -> dict[str, Any]:
    if options["log-driver"] == "none" and options["log-opt"]:
        raise _invalid("invalid logging opts for driver none")
    return {"Type": options["log-driver"], "Config": dict(text.partition("=")[::2] for text in options["log-opt"])}


def _capabilities(names: Sequence[str]) -> list[str] | None:
    """Normalize, sort and deduplicate names: ``sys_time`` is ``CAP_SYS_TIME``."""
    upper = {name.strip().upper() for name in names}
    if "ALL" in upper:
        return ["ALL"]
    return sorted(name if name.startswith("CAP_") else f"CAP_{name}" for name in upper) or None


def _host_config(options: Options, network_mode: str, ports: dict[str, Any], binds: list[str]) -> dict[str, Any]:
    _check(options)
    body: dict[str, Any] = {
        "Binds": binds or None,
        "ContainerIDFile": options["cidfile"],
        "LogConfig": _log_config(options),
        "NetworkMode": network_mode,
        "PortBindings": ports,
        "RestartPolicy": restart_policy(options["restart"]),
        "AutoRemove": options["rm"],
        "VolumeDriver": options["volume-driver"],
        "VolumesFrom": list(options["volumes-from"]) or None,
        "ConsoleSize": [0, 0],
        "CapAdd": _capabilities(options["cap-add"]),
        "CapDrop": _capabilities(options["cap-drop"]),
        "CgroupnsMode": options["cgroupns"],
        "Dns": list(options["dns"]),
        "DnsOptions": list(options["dns-option"]),
        "DnsSearch": list(options["dns-search"]),
        "ExtraHosts": list(options["add-host"]) or None,
        "GroupAdd": list(options["group-add"]) or None,
        "IpcMode": options["ipc"],
        "Cgroup": "",
        "Links": list(options["link"]) or None,
        "OomScoreAdj": options["oom-score-adj"],
        "PidMode": options["pid"],
        "Privileged": options["privileged"],
        "PublishAllPorts": options["publish-all"],
        "ReadonlyRootfs": options["read-only"],
        "SecurityOpt": None,
        "UTSMode": options["uts"],
        "UsernsMode": options["userns"],
        "ShmSize": options["shm-size"],
        "Isolation": options["isolation"],
        **resources(options),
        "MaskedPaths": None,
        "ReadonlyPaths": None,
    }
    _add_optional(body, options)
    return body


def resources(options: Options) -> dict[str, Any]:
    """The resource limits of a ``HostConfig``."""
    return {
        "CpuShares": options["cpu-shares"],
        "Memory": options["memory"],
        "NanoCpus": options["cpus"],
        "CgroupParent": options["cgroup-parent"],
        "BlkioWeight": options["blkio-weight"],
        "BlkioWeightDevice": list(options["blkio-weight-device"]),
        "BlkioDeviceReadBps": list(options["device-read-bps"]),
        "BlkioDeviceWriteBps": list(options["device-write-bps"]),
        "BlkioDeviceReadIOps": list(options["device-read-iops"]),
        "BlkioDeviceWriteIOps": list(options["device-write-iops"]),
        "CpuPeriod": options["cpu-period"],
        "CpuQuota": options["cpu-quota"],
        "CpuRealtimePeriod": options["cpu-rt-period"],
        "CpuRealtimeRuntime": options["cpu-rt-runtime"],
        "CpusetCpus": options["cpuset-cpus"],
        "CpusetMems": options["cpuset-mems"],
        "Devices": [],
        "DeviceCgroupRules": list(options["device-cgroup-rule"]) or None,
        "DeviceRequests": None,
        "MemoryReservation": options["memory-reservation"],
        "MemorySwap": options["memory-swap"],
        "MemorySwappiness": options["memory-swappiness"],
        "OomKillDisable": options["oom-kill-disable"],
        "PidsLimit": options["pids-limit"],
        "Ulimits": sorted({one["Name"]: one for one in options["ulimit"]}.values(), key=lambda one: str(one["Name"])),
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
    }


def _is_mac(text: str) -> bool:
    """``00:11:22:33:44:55``, with ``-``, or ``0011.2233.4455``: Go's ParseMAC for Ethernet."""
    parts = text.replace("-", ":").split(":") if "." not in text else text.split(".")
    digits = "".join(parts)
    even = {len(part) for part in parts} == ({4} if "." in text else {2})
    return even and len(digits) == 12 and all(digit in "0123456789abcdefABCDEF" for digit in digits)


def _check(options: Options) -> None:
    if not -1 <= options["memory-swappiness"] <= 100:
        raise _invalid(f"invalid value: {options['memory-swappiness']}. Valid memory swappiness range is 0-100")
    if options["rm"] and options["restart"] not in ("", "no"):
        raise _invalid("conflicting options: cannot specify both --restart and --rm")
    if options["mac-address"] and not _is_mac(options["mac-address"]):
        raise _invalid(f"{options['mac-address']} is not a valid mac address")
    if options["pid"] not in ("", "host") and not options["pid"].startswith("container:"):
        raise _invalid("--pid: invalid PID mode")
    for flag, what, allowed in (
        ("uts", "UTS", ("", "host")),
        ("userns", "USER", ("", "host")),
        ("cgroupns", "CGROUP", ("", "host", "private")),
    ):
        if options[flag] not in allowed:
            raise _invalid(f"--{flag}: invalid {what} mode")


def _add_optional(body: dict[str, Any], options: Options) -> None:
    """Add the members that are left out of the body unless their flag is given."""
    if options["tmpfs"]:
        from wherry.cli.flags.mounts import tmpfs

        body["Tmpfs"] = tmpfs(options["tmpfs"])
    if options["mount"]:
        body["Mounts"] = list(options["mount"])
    if options["sysctl"]:
        body["Sysctls"] = dict(options["sysctl"])
    if options["annotation"]:
        body["Annotations"] = dict(options["annotation"])
    if options["runtime"]:
        body["Runtime"] = options["runtime"]
    if "init" in options.given:
        body["Init"] = options["init"]
    if options["storage-opt"]:
        body["StorageOpt"] = dict(_pair_of("storage option", text) for text in options["storage-opt"])
    if options["security-opt"]:
        from wherry.cli.flags.security import apply_security_options

        apply_security_options(body, options["security-opt"])
    if options["device"] or options["gpus"]:
        from wherry.cli.flags.devices import apply_devices

        apply_devices(body, options["device"], options["gpus"])


def _pair_of(what: str, text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise _invalid(f"invalid {what}: {text}")
    return key, value
