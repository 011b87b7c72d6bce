"""``wherry info``: the daemon and the machine as text."""

from __future__ import annotations

from wherry.docker.units import bytes_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

__all__ = ["info_text"]


def info_text(info: dict[str, Any]) -> str:
    """The API's system information as lines."""
    return "Server:\n" + "".join(f" {line}\n" for line in _lines(info))


def _lines(info: dict[str, Any]) -> Iterator[str]:
    yield f"Containers: {info.get('Containers', 0)}"
    for state in ("Running", "Paused", "Stopped"):
        yield f" {state}: {info.get(f'Containers{state}', 0)}"
    yield f"Images: {info.get('Images', 0)}"
    yield f"Server Version: {info.get('ServerVersion', '')}"
    yield f"Storage Driver: {info.get('Driver', '')}"
    for name, value in info.get("DriverStatus") or ():
        yield f" {name}: {value}"
    yield from _drivers(info)
    yield from _devices(info)
    yield f"Runtimes: {' '.join(sorted(info.get('Runtimes') or ()))}"
    yield f"Default Runtime: {info.get('DefaultRuntime', '')}"
    if info.get("SecurityOptions"):
        yield "Security Options:"
        for option in info["SecurityOptions"]:
            yield from _security(option)
    yield from _machine(info)
    yield f"Debug Mode: {str(bool(info.get('Debug'))).lower()}"
    if info.get("Labels"):
        yield "Labels:"
        yield from (f" {label}" for label in info["Labels"])
    yield f"Experimental: {str(bool(info.get('ExperimentalBuild'))).lower()}"
    yield f"Live Restore Enabled: {str(bool(info.get('LiveRestoreEnabled'))).lower()}"


def _drivers(info: dict[str, Any]) -> Iterator[str]:
    yield f"Logging Driver: {info.get('LoggingDriver', '')}"
    yield f"Cgroup Driver: {info.get('CgroupDriver', '')}"
    if info.get("CgroupVersion"):
        yield f"Cgroup Version: {info['CgroupVersion']}"
    yield "Plugins:"
    plugins = info.get("Plugins") or {}
    for name in ("Volume", "Network", "Log"):
        yield f" {name}: {' '.join(plugins.get(name) or ())}"


def _devices(info: dict[str, Any]) -> Iterator[str]:
    if info.get("CDISpecDirs"):
        yield "CDI spec directories:"
        yield from (f" {directory}" for directory in info["CDISpecDirs"])
    if info.get("DiscoveredDevices"):
        yield "Discovered Devices:"
        yield from (f" {device.get('Source', '')}: {device.get('ID', '')}" for device in info["DiscoveredDevices"])


def _security(option: str) -> Iterator[str]:
    """``name=seccomp,profile=default`` as two lines."""
    fields = dict(field.partition("=")[::2] for field in option.split(","))
    yield f" {fields.pop('name', option)}"
    for name, value in fields.items():
        yield f"  {name.capitalize()}: {value}"


def _machine(info: dict[str, Any]) -> Iterator[str]:
    yield f"Kernel Version: {info.get('KernelVersion', '')}"
    yield f"Operating System: {info.get('OperatingSystem', '')}"
    yield f"OSType: {info.get('OSType', '')}"
    yield f"Architecture: {info.get('Architecture', '')}"
    yield f"CPUs: {info.get('NCPU', 0)}"
    yield f"Total Memory: {bytes_size(info.get('MemTotal', 0))}"
    yield f"Name: {info.get('Name', '')}"
    yield f"ID: {info.get('ID', '')}"
    yield f"Root Dir: {info.get('DockerRootDir', '')}"
