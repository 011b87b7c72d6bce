"""Specifications of devices: JSON or YAML files, which the operator of the machine, or a vendor's program, has written.

They are trusted: they say which files and devices of the host a container gets. A mistake in one is its own matter.
"""

from __future__ import annotations

import posixpath
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct, field

from wherry.engine.cdi.names import is_device, is_kind
from wherry.errors import InvalidInput

__all__ = ["ContainerEdits", "DeviceNode", "Hook", "IntelRdt", "Mount", "NetDevice", "Specification", "read"]

_VERSIONS: Final = frozenset({"0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0"})
_HOOKS: Final = frozenset({"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"})
_LARGEST: Final = 8 << 20  # bytes


class _Value(Struct, rename="camel", kw_only=True, frozen=True):
    """Base of all values: ``snake_case`` here, ``camelCase`` in the file; unknown members are ignored."""


class DeviceNode(_Value, frozen=True):
    """A device node: its path in the container, and where the host has it if that is another."""

    path: str
    host_path: str = ""
    type: str = ""
    major: int = 0
    minor: int = 0
    file_mode: int | None = None
    permissions: str = ""
    uid: int | None = None
    gid: int | None = None


class Mount(_Value, frozen=True):
    """A mount, as a runtime specification has it."""

    host_path: str
    container_path: str
    type: str = ""
    options: tuple[str, ...] = ()


class Hook(_Value, frozen=True):
    """A program of the host's, to be run at one point of a container's life."""

    hook_name: str
    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout: int | None = None


class NetDevice(_Value, frozen=True):
    """A network device of the host's, and its name in the container."""

    host_interface_name: str
    name: str


class IntelRdt(_Value, frozen=True):
    """Shares of cache and memory bandwidth, as a runtime specification has them."""

    clos_id: str = field(default="", name="closID")
    l3_cache_schema: str = field(default="", name="l3CacheSchema")
    mem_bw_schema: str = ""
    schemata: tuple[str, ...] = ()
    enable_monitoring: bool = False


class ContainerEdits(_Value, frozen=True):
    """What a container gets."""

    env: tuple[str, ...] = ()
    device_nodes: tuple[DeviceNode, ...] = ()
    net_devices: tuple[NetDevice, ...] = ()
    mounts: tuple[Mount, ...] = ()
    hooks: tuple[Hook, ...] = ()
    intel_rdt: IntelRdt | None = None
    additional_gids: tuple[int, ...] = field(default=(), name="additionalGids")


class Device(_Value, frozen=True):
    """One device, and what a container gets with it."""

    name: str
    annotations: dict[str, str] | None = None
    container_edits: ContainerEdits = ContainerEdits()


class Specification(_Value, frozen=True):
    """One file.

    :param container_edits: what a container gets with any of its devices.
    """

    cdi_version: str
    kind: str
    devices: tuple[Device, ...] = ()
    container_edits: ContainerEdits = ContainerEdits()


def read(path: Path) -> Specification:
    """Read and check a file.

    :raises InvalidInput: it is no specification, or one that makes no sense.
    :raises OSError: it cannot be read.
    """
    with path.open("rb") as file:
        text = file.read(_LARGEST + 1)
    if len(text) > _LARGEST:
        raise InvalidInput(f"it is longer than {_LARGEST} bytes")
    try:
        spec = msgspec.convert(_without_nulls(_decoded(path, text)), Specification)
    except msgspec.ValidationError as exc:
        raise InvalidInput(str(exc)) from exc
    except RecursionError as exc:
        raise InvalidInput("it is nested too deep") from exc
    _check(spec)
    return spec


def _decoded(path: Path, text: bytes) -> Any:
    if path.suffix == ".json":
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError as exc:
            raise InvalidInput(f"it is not JSON: {exc}") from exc
    import yaml  # noqa: PLC0415 - most machines have no such file

    try:
        return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, RecursionError, ValueError) as exc:
        raise InvalidInput(f"it is not YAML: {' '.join(str(exc).split())}") from exc


def _without_nulls(value: Any) -> Any:
    """An unset member may be written as null."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _check(spec: Specification) -> None:
    if spec.cdi_version.removeprefix("v") not in _VERSIONS:
        raise InvalidInput(f'unknown version "{spec.cdi_version}"')
    if not is_kind(spec.kind):
        raise InvalidInput(f'invalid kind "{spec.kind}"')
    seen: set[str] = set()
    for device in spec.devices:
        if not is_device(device.name):
            raise InvalidInput(f'invalid device name "{device.name}"')
        if device.name in seen:
            raise InvalidInput(f'the device "{device.name}" is there twice')
        seen.add(device.name)
        _check_edits(device.container_edits)
    if not spec.devices:
        raise InvalidInput("it has no devices")
    _check_edits(spec.container_edits)


def _check_edits(edits: ContainerEdits) -> None:
    for entry in edits.env:
        if "\0" in entry or entry.find("=") < 1:
            raise InvalidInput(f'invalid environment variable "{entry}"')
    for node in edits.device_nodes:
        _check_node(node)
    for mount in edits.mounts:
        for path in (mount.host_path, mount.container_path):
            _check_path(path)
        if posixpath.normpath(mount.container_path) == "/":
            raise InvalidInput("a mount on / is none of a device")
    for hook in edits.hooks:
        if hook.hook_name not in _HOOKS:
            raise InvalidInput(f'unknown hook "{hook.hook_name}"')
        _check_path(hook.path)
    if any(not 0 <= gid < 1 << 32 for gid in edits.additional_gids):
        raise InvalidInput("invalid additional group")


def _check_node(node: DeviceNode) -> None:
    _check_path(node.path)
    if node.host_path:
        _check_path(node.host_path)
    if node.type not in ("", "b", "c", "u", "p"):
        raise InvalidInput(f'device "{node.path}": invalid type "{node.type}"')
    if not set(node.permissions) <= set("rwm"):
        raise InvalidInput(f'device "{node.path}": invalid permissions "{node.permissions}"')
    if any(not 0 <= number < 1 << 32 for number in (node.major, node.minor, node.uid or 0, node.gid or 0)):
        raise InvalidInput(f'device "{node.path}": a number is out of range')


def _check_path(path: str) -> None:
    if not path.startswith("/") or "\0" in path:
        raise InvalidInput(f'invalid path "{path}": it must be absolute')
