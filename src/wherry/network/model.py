"""The vocabulary of the package, as frozen values.

network
    What containers join: a definition that lasts until it is removed.
subnet
    One range of addresses of a network; a network has at most one of each family that is used for new endpoints.
endpoint
    An interface of one owner on one network, with its addresses and published ports. Lasts as long as the owner runs.
sandbox
    The network namespace in which an owner's endpoints are (`wherry.network.sandbox`).
owner
    What has a sandbox: an opaque ID (a container's, 64 hexadecimal digits) and a name for messages.

Everything that is stored is made of these (msgspec knows how); nothing here acts.
"""

from __future__ import annotations

from abc import ABC
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct, field

__all__ = [
    "ALL_INTERFACES",
    "BRIDGE_NAME",
    "BUILTIN",
    "DEFAULT_BRIDGE",
    "ICC",
    "IFNAME",
    "IFPREFIX",
    "IPV6",
    "IPV6_MTU",
    "MTU",
    "ROUTER",
    "SYSCTLS",
    "Address",
    "Endpoint",
    "EndpointRequest",
    "Gateways",
    "LinkedPorts",
    "Network",
    "NetworkOptions",
    "NetworkRequest",
    "NetworkSettings",
    "PoolSetting",
    "PortRequest",
    "Prefix",
    "PublishedPort",
    "Subnet",
    "SubnetRequest",
]

if TYPE_CHECKING:
    Address = IPv4Address | IPv6Address
    Prefix = IPv4Network | IPv6Network
else:  # msgspec reads no union of two foreign types, but it does read one abstract type that has both

    class Address(ABC):  # noqa: B024
        """An address of either family."""

    class Prefix(ABC):  # noqa: B024
        """A range of addresses of either family."""

    Address.register(IPv4Address)
    Address.register(IPv6Address)
    Prefix.register(IPv4Network)
    Prefix.register(IPv6Network)

DEFAULT_BRIDGE: Final = "bridge"
"""The name of the network that containers join when they say nothing."""

BUILTIN: Final = ("bridge", "host", "none")
"""The networks that are always there and cannot be removed."""


class PoolSetting(Struct, frozen=True):
    """One of the daemon's ``default-address-pools``: networks get subnets of `size` bits out of `base`."""

    base: Prefix
    size: int


class NetworkOptions(Struct, frozen=True, kw_only=True):
    """What the daemon's options say about networks; names and meanings are those of dockerd's (``dockerd(8)``).

    Declared here only: the daemon's table of flags names the fields, the engine hands the value on.
    """

    bridge: str = ""  #: an existing bridge for the default network; ``none``: no default network
    bip: str = ""  #: address and prefix length of the default bridge
    bip6: str = ""
    fixed_cidr: str = ""  #: the part of the default bridge's subnet that containers get addresses from
    fixed_cidr6: str = ""
    default_gateway: str = ""  #: of containers on the default bridge
    default_gateway6: str = ""
    pools: tuple[PoolSetting, ...] = ()  #: empty: `wherry.network.ipam.subnets.DEFAULT_POOLS`
    ipv6: bool | None = None  #: on the default bridge; None: as it was so far, and not on a new one
    mtu: int = 0  #: bytes; 0: the uplink's
    icc: bool = True  #: containers on the default bridge reach one another
    ip_forward: bool = True  #: switch forwarding on in the host
    ip_forward_no_drop: bool = False  #: what that opens between other links stays open
    ip_masq: bool = True  #: containers reach outside with the host's address
    host_address: str = "0.0.0.0"  #: ``ip``: where ports are published that name no address; the default: every address
    default_options: dict[str, dict[str, str]] = field(default_factory=dict)  #: ``default-network-opts``, by driver
    dns: tuple[str, ...] = ()  #: name servers, resolver options and search domains of containers
    dns_options: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    host_gateway_ips: tuple[str, ...] = ()  #: what ``--add-host NAME:host-gateway`` means


class NetworkSettings(NetworkOptions, frozen=True, kw_only=True):
    """The options, and where an engine keeps its things."""

    data_root: Path
    exec_root: Path
    default_exec_root: bool = True  #: names in the kernel are plain (``wherry0``, table ``wherry``) instead of hashed
    warm: int = 4  #: sandboxes kept ready


BRIDGE_NAME: Final = "com.docker.network.bridge.name"
"""The driver option that names a network's bridge in the host."""

IPV6: Final = "com.docker.network.enable_ipv6"
"""The driver option for IPv6, of networks whose request says nothing of it: one of ``default-network-opts``."""

IPV6_MTU: Final = 1280
"""The smallest with which the kernel does IPv6 (RFC 8200, 5)."""

MTU: Final = "com.docker.network.driver.mtu"
"""The driver option for the MTU of a network's links, in bytes."""

ROUTER: Final = {4: "DefaultGatewayIPv4", 6: "DefaultGatewayIPv6"}
"""Names among a subnet's auxiliary addresses: another router than the bridge, as Docker names them."""

ICC: Final = "com.docker.network.bridge.enable_icc"
"""The driver option that keeps a bridge's containers from reaching one another."""

IFNAME: Final = "com.docker.network.endpoint.ifname"
"""The driver option that names an endpoint's interface."""

IFPREFIX: Final = "com.docker.network.container_iface_prefix"
"""The driver option for what interfaces inside are called, before their number."""

ALL_INTERFACES: Final = frozenset(("all", "default"))
"""What the kernel calls all interfaces, those of now and those to come, in settings of single ones."""

SYSCTLS: Final = "com.docker.network.endpoint.sysctls"
"""The driver option with settings of an endpoint's interface: ``net.ipv4.conf.IFNAME.log_martians=1,...``."""


# ------------------------------------------------------------------------------------------------------------ requests


class SubnetRequest(Struct, frozen=True):
    """One entry of the API's ``IPAM.Config``: texts as the client wrote them."""

    subnet: str = ""
    ip_range: str = ""
    gateway: str = ""
    auxiliary: dict[str, str] = field(default_factory=dict)


class NetworkRequest(Struct, frozen=True, kw_only=True):
    """What a new network should be; the API's NetworkCreate, unchecked."""

    name: str
    driver: str = "bridge"
    ipv4: bool | None = None
    ipv6: bool | None = None
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    config_only: bool = False
    config_from: str = ""
    scope: str = ""
    options: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    ipam_driver: str = "default"
    ipam_options: dict[str, str] = field(default_factory=dict)
    subnets: tuple[SubnetRequest, ...] = ()


class PortRequest(Struct, frozen=True):
    """One port of the container to be published; ranges (``8000-8010:80-90``) are as many requests.

    :ivar protocol: ``tcp``, ``udp`` or ``sctp``.
    :ivar host_address: on which address of the host; None: on all of both families (or where the daemon's options say).
    :ivar host_port_first: the host's port, or the first of a range of which any will do; None: any free ephemeral one.
    :ivar host_port_last: the last of that range.
    """

    protocol: str
    container_port: int
    host_address: Address | None = None
    host_port_first: int | None = None
    host_port_last: int | None = None


class LinkedPorts(Struct, frozen=True):
    """Ports of another owner that a link opens to this one, on a network without ICC.

    :ivar ports: protocol and number.
    """

    owner: str
    ports: tuple[tuple[str, int], ...]


class EndpointRequest(Struct, frozen=True, kw_only=True):
    """What an owner asks of its endpoint on a network."""

    ipv4: IPv4Address | None = None
    ipv6: IPv6Address | None = None
    link_local: tuple[Address, ...] = ()  #: further addresses, without names, ports or NAT
    mac: str | None = None  #: ``02:42:...``; checked by `wherry.network.ipam.addresses.parse_mac`
    aliases: tuple[str, ...] = ()  #: kept in the endpoint as they are, for name resolution
    links: tuple[str, ...] = ()
    linked_ports: tuple[LinkedPorts, ...] = ()
    driver_options: dict[str, str] = field(
        default_factory=dict
    )  #: ``com.docker.network.endpoint.sysctls``, ``...ifname``
    without_ipv6: frozenset[str] = (
        frozenset()
    )  #: names of interfaces that get no IPv6; ``all`` and ``default`` mean every
    priority: int = 0  #: ``GwPriority``: the highest has the default route; of equal ones the first by network name
    publish: tuple[PortRequest, ...] = ()
    had_before: bool = False  #: the addresses are no user's request: the network has given them to the owner once


# -------------------------------------------------------------------------------------------------------------- things


class Subnet(Struct, frozen=True):
    """One range of addresses of a network.

    :ivar network: the whole.
    :ivar gateway: the bridge's address in it; on the link of a parent, the router's. None: it has none.
    :ivar range: the part from which addresses are chosen; None: all of it.
    :ivar auxiliary: names and addresses never handed out.
    """

    network: Prefix
    gateway: Address | None = None
    range: Prefix | None = None
    auxiliary: dict[str, Address] = field(default_factory=dict)


class Network(Struct, frozen=True, kw_only=True):
    """A network's definition.

    :ivar id: 64 hexadecimal digits.
    :ivar created: nanoseconds since the epoch.
    :ivar bridge: the kernel's name of its bridge (or dummy) in the host, or of its parent; else empty.
    :ivar borrowed: that interface was there before us, and stays when the network goes.
    :ivar chosen: the client chose the subnets: only then may it choose addresses, as in Docker.
    :ivar mtu: of its links, in bytes.
    :ivar config_only: it is a configuration that others are made of, and nothing else.
    :ivar config_from: the name of the configuration that it was made of; it cannot go before this network.
    :ivar configuration: the subnets of a configuration, as the client wrote them; nothing is allocated.
    """

    id: str
    name: str
    driver: str
    created: int
    ipv4: bool = True
    ipv6: bool = False
    internal: bool = False
    attachable: bool = False
    scope: str = "local"
    options: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    ipam_driver: str = "default"
    ipam_options: dict[str, str] = field(default_factory=dict)
    subnets: tuple[Subnet, ...] = ()
    chosen: bool = False
    bridge: str = ""
    borrowed: bool = False
    mtu: int = 1500
    config_only: bool = False
    config_from: str = ""
    configuration: tuple[SubnetRequest, ...] = ()

    @property
    def is_builtin(self) -> bool:
        """Whether it is always there: ``bridge``, ``host``, ``none``."""
        return self.name in BUILTIN

    @property
    def is_default_bridge(self) -> bool:
        """Whether it is the one that containers join when they say nothing; it has no name resolution, as Docker's."""
        return self.name == DEFAULT_BRIDGE

    @property
    def subnet4(self) -> Subnet | None:
        """The first IPv4 subnet."""
        return next((subnet for subnet in self.subnets if subnet.network.version == 4), None)

    @property
    def subnet6(self) -> Subnet | None:
        """The first IPv6 subnet."""
        return next((subnet for subnet in self.subnets if subnet.network.version == 6), None)


class PublishedPort(Struct, frozen=True):
    """One port of the host that leads to an endpoint.

    :ivar host_address: ``0.0.0.0`` and ``::`` mean every address of the family.
    :ivar host_port: 0: none of the host, the endpoint's own port is open to others.
    """

    protocol: str
    container_port: int
    host_address: Address
    host_port: int


class Endpoint(Struct, frozen=True, kw_only=True):
    """The interface of one owner on one network.

    :ivar id: 64 hexadecimal digits.
    :ivar interface: its name in the sandbox (``eth0``).
    :ivar host_interface: the other side of the veth pair; empty for drivers without one.
    :ivar link_local: further addresses, which are not the network's: they have no names and no ports.
    :ivar mac: empty: it has its parent's.
    :ivar gateway4: where its default route leads when this endpoint has it; None on internal networks; the unspecified
        address: to the link itself, without a gateway.
    """

    id: str
    network_id: str
    owner: str
    owner_name: str
    interface: str
    host_interface: str = ""
    mac: str = ""
    ipv4: IPv4Address | None = None
    ipv4_prefix: int = 0
    ipv6: IPv6Address | None = None
    ipv6_prefix: int = 0
    link_local: tuple[Address, ...] = ()
    gateway4: IPv4Address | None = None
    gateway6: IPv6Address | None = None
    aliases: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    linked_ports: tuple[LinkedPorts, ...] = field(default=(), name="openings")  # as earlier versions have stored it
    driver_options: dict[str, str] = field(default_factory=dict)
    published: tuple[PublishedPort, ...] = ()
    priority: int = 0

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Its addresses of the network's, IPv4 first."""
        return tuple(address for address in (self.ipv4, self.ipv6) if address is not None)


class Gateways(Struct, frozen=True):
    """Where the default routes of a sandbox lead, and by which interface; None: there is none."""

    ipv4: tuple[IPv4Address, str] | None = None
    ipv6: tuple[IPv6Address, str] | None = None
