"""What devices bring along, in the words of a runtime specification. Looks at the host: to be called in a thread."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from wherry.engine.cdi.specs import ContainerEdits, DeviceNode
from wherry.engine.cdi.specs import Hook as HookEdit
from wherry.engine.cdi.specs import Mount as MountEdit
from wherry.errors import SystemFault
from wherry.oci.runtime_spec import Device, DeviceCgroup, Hook, Hooks, IntelRdt, Mount, NetDevice

__all__ = ["Edits", "collected", "with_variables"]

_HOOK_TIMEOUT = 120  # seconds, where the specification says nothing
_FAILED = "CDI device injection failed: "


class Edits(NamedTuple):
    """Additions to a runtime specification.

    :param groups: further groups of the process.
    :param hooks: programs of the host's that are run at points of the container's life; None where there are none.
    :param net_devices: interfaces of the host's that move into the container.
    :param intel_rdt: its class of service.
    """

    env: tuple[str, ...] = ()
    nodes: tuple[Device, ...] = ()
    rules: tuple[DeviceCgroup, ...] = ()
    mounts: tuple[Mount, ...] = ()
    groups: tuple[int, ...] = ()
    hooks: Hooks | None = None
    net_devices: tuple[tuple[str, NetDevice], ...] = ()
    intel_rdt: IntelRdt | None = None


def collected(parts: Sequence[ContainerEdits]) -> Edits:
    """Put together what several devices bring along.

    :raises SystemFault: the host does not have a device that one of them names.
    """
    nodes = {each.path: _node(each) for part in parts for each in part.device_nodes}
    mounts = {each.container_path: _mount(each) for part in parts for each in part.mounts}
    groups = dict.fromkeys(gid for part in parts for gid in part.additional_gids if gid)
    return Edits(
        env=tuple(entry for part in parts for entry in part.env),
        nodes=tuple(node for node, _ in nodes.values()),
        rules=tuple(rule for _, rule in nodes.values() if rule is not None),
        mounts=tuple(mounts.values()),
        groups=tuple(groups),
        hooks=_hooks([each for part in parts for each in part.hooks]),
        net_devices=tuple(
            (each.host_interface_name, NetDevice(each.name)) for part in parts for each in part.net_devices
        ),
        intel_rdt=_shares(parts),
    )


def with_variables(env: Iterable[str], further: Iterable[str]) -> tuple[str, ...]:
    """An environment with further variables, which replace those of the same names."""
    values = dict(entry.partition("=")[::2] for entry in env)
    values.update(entry.partition("=")[::2] for entry in further)
    return tuple(f"{name}={value}" for name, value in values.items())


def _hooks(edits: Sequence[HookEdit]) -> Hooks | None:
    """By the points at which they are run, each in the order of the devices."""
    by_kind: dict[str, list[Hook]] = {}
    for each in edits:
        by_kind.setdefault(each.hook_name, []).append(_hook(each))
    return msgspec.convert(by_kind, Hooks, from_attributes=True) if by_kind else None


def _hook(each: HookEdit) -> Hook:
    return Hook(path=each.path, args=each.args, env=each.env, timeout=each.timeout or _HOOK_TIMEOUT)


def _shares(parts: Sequence[ContainerEdits]) -> IntelRdt | None:
    """Of several devices' the last one's, as where CDI's own library is used."""
    found = next((part.intel_rdt for part in reversed(parts) if part.intel_rdt is not None), None)
    return None if found is None else IntelRdt(**msgspec.structs.asdict(found))


def _mount(each: MountEdit) -> Mount:
    options = each.options
    if each.type in ("", "bind", "none") and not {"bind", "rbind"} & set(options):
        options = ("rbind", *options)
    return Mount(destination=each.container_path, type=each.type or "bind", source=each.host_path, options=options)


def _node(each: DeviceNode) -> tuple[Device, DeviceCgroup | None]:
    kind, major, minor = each.type, each.major, each.minor
    if not kind or (not major and kind != "p"):
        kind, major, minor = _on_the_host(each)
    node = Device(
        path=each.path, type=kind, major=major, minor=minor, file_mode=each.file_mode, uid=each.uid or 0,
        gid=each.gid or 0,
    )  # fmt: skip
    if kind == "p":
        return node, None
    access = each.permissions or "rwm"
    return node, DeviceCgroup(allow=True, type="b" if kind == "b" else "c", major=major, minor=minor, access=access)


def _on_the_host(each: DeviceNode) -> tuple[str, int, int]:
    path = each.host_path or each.path
    try:
        status = os.stat(path)
    except OSError as exc:
        raise SystemFault(f'{_FAILED}failed to stat CDI host device "{path}": {(exc.strerror or "").lower()}') from exc
    kinds = ((stat.S_ISBLK, "b"), (stat.S_ISCHR, "c"), (stat.S_ISFIFO, "p"))
    kind = next((name for test, name in kinds if test(status.st_mode)), "")
    if not kind or (each.type and each.type.replace("u", "c") != kind):
        raise SystemFault(f'{_FAILED}"{path}" is no device of type "{each.type or "b, c or p"}"')
    return kind, os.major(status.st_rdev), os.minor(status.st_rdev)
