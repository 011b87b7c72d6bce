"""Bodies of the Engine API about networks: requests, whose fields may all be missing or null, and answers.

The order of an answer's fields is the order of its members in JSON.
"""

from __future__ import annotations

from msgspec import Struct, field

__all__ = [
    "ConfigReference",
    "EndpointIpam",
    "EndpointResource",
    "EndpointSettings",
    "EndpointView",
    "IpamConfig",
    "IpamPool",
    "IpamStatus",
    "NetworkCreate",
    "NetworkInspect",
    "NetworkPruneReport",
    "NetworkSettings",
    "NetworkStatus",
    "PortBinding",
    "PortMap",
    "PortSummary",
    "SubnetStatus",
]


class IpamPool(Struct, rename="pascal", omit_defaults=True):
    """One subnet: an entry of ``IPAM.Config``, in requests and answers."""

    subnet: str | None = None
    ip_range: str | None = field(default=None, name="IPRange")
    gateway: str | None = None
    auxiliary_addresses: dict[str, str] | None = None


class IpamConfig(Struct, rename="pascal"):
    """Address management of a network: ``IPAM``, in requests and answers."""

    driver: str | None = None
    options: dict[str, str] | None = None
    config: list[IpamPool] | None = None


class ConfigReference(Struct, rename="pascal"):
    """Where a network takes its configuration from."""

    network: str = ""


class NetworkCreate(Struct, rename="pascal", kw_only=True):
    """The body of NetworkCreate."""

    name: str = ""
    driver: str | None = None
    scope: str | None = None
    enable_ipv4: bool | None = field(default=None, name="EnableIPv4")
    enable_ipv6: bool | None = field(default=None, name="EnableIPv6")
    ipam: IpamConfig | None = field(default=None, name="IPAM")
    internal: bool | None = None
    attachable: bool | None = None
    ingress: bool | None = None
    config_only: bool | None = None
    config_from: ConfigReference | None = None
    options: dict[str, str] | None = None
    labels: dict[str, str] | None = None


class EndpointIpam(Struct, rename="pascal", omit_defaults=True):
    """The addresses that a container requests on a network."""

    ipv4_address: str | None = field(default=None, name="IPv4Address")
    ipv6_address: str | None = field(default=None, name="IPv6Address")
    link_local_ips: list[str] | None = field(default=None, name="LinkLocalIPs")


class EndpointSettings(Struct, rename="pascal", kw_only=True, omit_defaults=True):
    """The endpoint that a container requests on a network. What only answers have (``EndpointID`` ...) is not read."""

    ipam_config: EndpointIpam | None = field(default=None, name="IPAMConfig")
    links: list[str] | None = None
    aliases: list[str] | None = None
    mac_address: str | None = None
    driver_opts: dict[str, str] | None = None
    gw_priority: int | None = None
    network_id: str | None = field(default=None, name="NetworkID")


class PortBinding(Struct, rename="pascal"):
    """An address and a port of the host that lead to a port of the container; in requests the port may be a range."""

    host_ip: str | None = None
    host_port: str | None = None


PortMap = dict[str, list[PortBinding] | None]
"""Bindings by ports of the container (``80/tcp``); null for a port that is exposed and not published."""


# --- answers ----------------------------------------------------------------------------------------------------------


class EndpointView(Struct, rename="pascal", kw_only=True, gc=False):
    """One of a container's ``NetworkSettings.Networks``: what was requested, and what the endpoint has."""

    ipam_config: EndpointIpam | None = field(name="IPAMConfig")
    links: list[str] | None
    aliases: list[str] | None
    driver_opts: dict[str, str] | None
    gw_priority: int
    network_id: str = field(name="NetworkID")
    endpoint_id: str = field(default="", name="EndpointID")
    gateway: str = ""
    ip_address: str = field(default="", name="IPAddress")
    mac_address: str = ""
    ip_prefix_len: int = field(default=0, name="IPPrefixLen")
    ipv6_gateway: str = field(default="", name="IPv6Gateway")
    global_ipv6_address: str = field(default="", name="GlobalIPv6Address")
    global_ipv6_prefix_len: int = field(default=0, name="GlobalIPv6PrefixLen")
    dns_names: list[str] | None = field(name="DNSNames")


class NetworkSettings(Struct, rename="pascal", kw_only=True):
    """``NetworkSettings`` of ContainerInspect. The addresses at the top are those on the default bridge."""

    bridge: str = ""
    sandbox_id: str = field(default="", name="SandboxID")
    sandbox_key: str = ""
    ports: PortMap
    hairpin_mode: bool = False
    link_local_ipv6_address: str = field(default="", name="LinkLocalIPv6Address")
    link_local_ipv6_prefix_len: int = field(default=0, name="LinkLocalIPv6PrefixLen")
    secondary_ip_addresses: None = field(default=None, name="SecondaryIPAddresses")
    secondary_ipv6_addresses: None = field(default=None, name="SecondaryIPv6Addresses")
    endpoint_id: str = field(default="", name="EndpointID")
    gateway: str = ""
    ip_address: str = field(default="", name="IPAddress")
    mac_address: str = ""
    ip_prefix_len: int = field(default=0, name="IPPrefixLen")
    ipv6_gateway: str = field(default="", name="IPv6Gateway")
    global_ipv6_address: str = field(default="", name="GlobalIPv6Address")
    global_ipv6_prefix_len: int = field(default=0, name="GlobalIPv6PrefixLen")
    networks: dict[str, EndpointView]


class PortSummary(Struct, rename="pascal", kw_only=True, omit_defaults=True):
    """One of a container's ``Ports`` in ContainerList."""

    ip: str | None = field(default=None, name="IP")
    private_port: int
    public_port: int | None = None
    type: str


class EndpointResource(Struct, rename="pascal", kw_only=True):
    """One of a network's ``Containers``."""

    name: str
    endpoint_id: str = field(name="EndpointID")
    mac_address: str = ""
    ipv4_address: str = field(default="", name="IPv4Address")
    ipv6_address: str = field(default="", name="IPv6Address")


class SubnetStatus(Struct, rename="pascal"):
    """How many addresses of a subnet are in use, and how many are free."""

    ips_in_use: int = field(name="IPsInUse")
    dynamic_ips_available: int = field(name="DynamicIPsAvailable")


class IpamStatus(Struct, rename="pascal"):
    """The addresses of a network, by subnet."""

    subnets: dict[str, SubnetStatus]


class NetworkStatus(Struct):
    """The ``Status`` of a network."""

    ipam: IpamStatus = field(name="IPAM")


class NetworkInspect(Struct, rename="pascal", kw_only=True):
    """The body of NetworkInspect, and an element of NetworkList."""

    name: str
    id: str
    created: str
    scope: str
    driver: str
    enable_ipv4: bool = field(name="EnableIPv4")
    enable_ipv6: bool = field(name="EnableIPv6")
    ipam: IpamConfig = field(name="IPAM")
    internal: bool
    attachable: bool
    ingress: bool = False
    config_from: ConfigReference = field(default_factory=ConfigReference)
    config_only: bool = False
    containers: dict[str, EndpointResource]
    options: dict[str, str]
    labels: dict[str, str]
    status: NetworkStatus


class NetworkPruneReport(Struct, rename="pascal"):
    """The body of NetworkPrune."""

    networks_deleted: list[str] | None
