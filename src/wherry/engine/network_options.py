"""From what the daemon was told to what `wherry.network` understands."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING

from wherry.engine.settings import DEFAULT_EXEC_ROOT
from wherry.errors import InvalidInput
from wherry.network.model import NetworkSettings, PoolSetting

if TYPE_CHECKING:
    from wherry.engine.settings import Settings

__all__ = ["network_settings"]


def network_settings(settings: Settings) -> NetworkSettings:
    """The settings of an engine's networks.

    :raises InvalidInput: an address pool is none.
    """
    told = settings.networks
    return NetworkSettings(
        data_root=settings.data_root, exec_root=settings.exec_root,
        default_exec_root=settings.exec_root == DEFAULT_EXEC_ROOT,
        pools=tuple(_pool(base, size) for base, size in told.pools),
        bridge=told.bridge, bip=told.bip, bip6=told.bip6, fixed_cidr=told.fixed_cidr, fixed_cidr6=told.fixed_cidr6,
        default_gateway=told.default_gateway, default_gateway6=told.default_gateway6, ipv6=told.ipv6, mtu=told.mtu,
        icc=told.icc, ip_forward=told.ip_forward, ip_forward_no_drop=told.ip_forward_no_drop, ip_masq=told.ip_masq,
        host_address=told.host_address, default_options=dict(told.default_options),
    )  # fmt: skip


def _pool(base: str, size: int) -> PoolSetting:
    try:
        return PoolSetting(ip_network(base), size)
    except ValueError as exc:
        raise InvalidInput(f'invalid address pool "{base}"', cause=str(exc)) from exc
