"""Options of Docker's ``daemon.json`` that are not wherry's: passed over with a warning, or refused.

A file that dockerd takes is taken here as well. What has no effect is said, once; what would leave containers less
isolated, or clients less restricted, than the file promises is refused.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from wherry.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


@dataclass(frozen=True, slots=True)
class Foreign:
    """An option of dockerd's that wherryd does not have."""

    reason: str  #: behind "it has no effect: ", or behind "it is refused: "
    agrees: Callable[[Any], bool] = lambda value: not value  #: whether a value asks for what is so anyway


def _one_of(*values: object) -> Callable[[Any], bool]:
    return lambda value: value in ("", None, *values)


_CLUSTER: Final = Foreign("Docker has removed its cluster stores")
_SWARM: Final = Foreign("wherry has no swarm")
_CONTAINERD: Final = Foreign("wherry does without containerd")
_REAL_TIME: Final = Foreign("give containers real-time limits of their own: --cpu-rt-period, --cpu-rt-runtime")
_FIREWALL: Final = Foreign(
    "wherry's rules are in a table of its own, for nftables, and other tables are left alone", agrees=bool
)

#: What is passed over, with a warning where the value asks for something else than what is so anyway.
PASSED_OVER: Final[Mapping[str, Foreign]] = {
    "allow-direct-routing": Foreign("that is an option of networks here"),
    "allow-nondistributable-artifacts": Foreign("Docker has removed it, and all layers are pushed"),
    "bridge-accept-fwmark": Foreign("wherry's firewall rules look at no marks of others"),
    "cluster-advertise": _CLUSTER,
    "cluster-store": _CLUSTER,
    "cluster-store-opts": _CLUSTER,
    "containerd": _CONTAINERD,
    "containerd-namespace": _CONTAINERD,
    "containerd-plugin-namespace": _CONTAINERD,
    "containerd-plugins-namespace": _CONTAINERD,
    "cpu-rt-period": _REAL_TIME,
    "cpu-rt-runtime": _REAL_TIME,
    "cri-containerd": _CONTAINERD,
    "default-init": Foreign("Docker has removed it; give init-path"),
    "deprecated-key-path": Foreign("Docker has removed it"),
    "exec-opts": Foreign("wherry writes control groups itself", _one_of([], ["native.cgroupdriver=cgroupfs"])),
    "experimental": Foreign("nothing has to be switched on"),
    "extension-config": Foreign("wherry has no extensions"),
    "firewall-backend": Foreign("wherry's rules are for nftables", _one_of("nftables")),
    "graph": Foreign("Docker has removed it; give data-root"),
    "ip6tables": _FIREWALL,
    "iptables": _FIREWALL,
    "live-restore": Foreign("containers outlive the daemon in any case, until 'wherry system shutdown --kill'", bool),
    "min-api-version": Foreign("all versions from 1.24 on are answered", _one_of("1.24")),
    "network-control-plane-mtu": _SWARM,
    "network-diagnostic-port": _SWARM,
    "node-generic-resources": _SWARM,
    "nri-opts": Foreign("wherry has no Node Resource Interface", lambda value: not (value or {}).get("enable")),
    "oom-score-adjust": Foreign("Docker has removed it; the service manager has such a setting"),
    "raw-logs": Foreign("the daemon's log has no colours anyway", lambda value: True),
    "resolv-conf": Foreign("containers' resolvers follow the machine's /etc/resolv.conf, or --dns"),
    "storage-driver": Foreign("wherry's is overlayfs", _one_of("overlay2", "overlayfs")),
    "swarm-default-advertise-addr": _SWARM,
    "swarm-raft-election-tick": _SWARM,
    "swarm-raft-heartbeat-tick": _SWARM,
    "userland-proxy": Foreign("ports are published by the kernel, without a process for each", lambda value: True),
    "userland-proxy-path": Foreign("there is no such process"),
}

#: What is refused, unless the value asks for what is so anyway.
REFUSED: Final[Mapping[str, Foreign]] = {
    "api-cors-header": Foreign("web pages would control the daemon; Docker has removed it, too"),
    "authorization-plugins": Foreign("wherry asks no plugins, and everything that they forbid would be allowed"),
    "rootless": Foreign("wherryd needs to be root"),
    "selinux-enabled": Foreign("containers would run without the labels that it promises"),
    "userns-remap": Foreign("root in a container would be root of the machine; the file promises another user"),
}


#: Docker's features that are not a matter of wherry's.
_FEATURES: Final[Mapping[str, Foreign]] = {
    "containerd-migration": _CONTAINERD,
    "containerd-snapshotter": _CONTAINERD,
}


def check_features(features: Mapping[str, Any]) -> Iterator[str]:
    """The warnings that the object ``features`` deserves; features that nobody knows are passed over, as by dockerd."""
    for name, value in features.items():
        if name in _FEATURES and not _FEATURES[name].agrees(value):
            reason = _FEATURES[name].reason
            yield f'"features": "{name}": {json.dumps(value)[:100]} has no effect: {reason}'


def check_foreign(key: str, value: Any) -> str | None:
    """Return the warning that an option of dockerd's deserves; empty for none, None if dockerd has no such option.

    :raises InvalidInput: passing it over would be unsafe.
    """
    if key in REFUSED:
        refused = REFUSED[key]
        if refused.agrees(value):
            return ""
        raise InvalidInput(f'"{key}": {json.dumps(value)[:100]} is refused', cause=refused.reason)
    if key not in PASSED_OVER:
        return None
    option = PASSED_OVER[key]
    try:
        agrees = option.agrees(value)
    except AttributeError:
        agrees = False
    return "" if agrees else f'"{key}": {json.dumps(value)[:100]} has no effect: {option.reason}'
