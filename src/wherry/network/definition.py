"""From what a client asks for to a network's definition."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Callable
from ipaddress import ip_address, ip_interface, ip_network
from typing import Final, NamedTuple, TypeVar

from msgspec.structs import replace

from wherry.errors import Forbidden, InvalidInput
from wherry.network.drivers.contract import Driver
from wherry.network.drivers.options import check_interface_name, is_true
from wherry.network.drivers.table import DRIVERS, find_driver
from wherry.network.ipam.host_networks import HostNetworks
from wherry.network.ipam.subnets import check_pools, parse_subnets, with_gateway
from wherry.network.model import (
    BRIDGE_NAME,
    BUILTIN,
    DEFAULT_BRIDGE,
    IFPREFIX,
    IPV6,
    IPV6_MTU,
    MTU,
    ROUTER,
    Address,
    Network,
    NetworkRequest,
    NetworkSettings,
    Prefix,
    Subnet,
)

__all__ = [
    "alias_of",
    "built_in",
    "check_configuration",
    "check_settings",
    "configured",
    "default_bridge",
    "define",
    "with_defaults",
]

_T = TypeVar("_T")
_IPAM_DRIVERS: Final = ("", "default")
_LONGEST_NAME: Final = 255
#: As containers and volumes are called. dockerd takes anything here, shells' and terminals' special characters too.
_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")


def alias_of(settings: NetworkSettings) -> str:
    """By what the interfaces of this engine are known, and the name of its tables."""
    return "wherry" if settings.default_exec_root else f"wherry_{_hash(settings)}"


def _hash(settings: NetworkSettings) -> str:
    return hashlib.sha256(str(settings.exec_root).encode()).hexdigest()[:6]


# ----------------------------------------------------------------------------------------------- what a client asks for


def define(request: NetworkRequest, host: HostNetworks, settings: NetworkSettings) -> Network:
    """Make a definition out of a request.

    :raises InvalidInput: the request makes no sense.
    :raises Forbidden: it is for a built-in network, subnets overlap, or none is left.
    :raises NotFound: there is no such driver, or no such network to take the configuration from.
    """
    _check(request)
    if request.config_only:
        return _configuration(with_defaults(request, settings), host)
    driver = find_driver(request.driver)
    request = with_defaults(request, settings)
    options, with_ipv6, with_ipv4 = request.options, bool(request.ipv6), request.ipv4 is not False
    mtu = mtu_of(options, host.mtu)
    if with_ipv6:
        _check_ipv6(mtu, there=host.ipv6 or not driver.needs_host_ipv6)
    if not with_ipv4 and not with_ipv6:
        raise InvalidInput("IPv4 or IPv6 must be enabled")
    subnets = parse_subnets(request.subnets, host.used, ipv4=with_ipv4, ipv6=with_ipv6, chosen=host.choose)
    for version, wanted in ((4, with_ipv4), (6, with_ipv6)):
        if sum(subnet.network.version == version for subnet in subnets) > 1:
            raise Forbidden(f"{request.driver} driver doesn't support multiple subnets")
        if wanted and not any(subnet.network.version == version for subnet in subnets):
            subnets.append(Subnet(host.choose(version)))
    subnets.sort(key=lambda subnet: subnet.network.version)  # as Docker shows them, and scripts take the first
    network = Network(
        id=secrets.token_hex(32),
        name=request.name,
        driver=request.driver,
        created=time.time_ns(),
        ipv4=with_ipv4,
        ipv6=with_ipv6,
        internal=request.internal,
        attachable=request.attachable,
        options=options,
        labels=request.labels,
        ipam_driver=request.ipam_driver or "default",
        ipam_options=request.ipam_options,
        subnets=tuple(subnets),
        chosen=any(entry.subnet for entry in request.subnets),
        mtu=mtu,
        config_from=request.config_from,
    )
    network = driver.check(network)
    return replace(network, subnets=tuple(_with_gateway(network, driver, subnet) for subnet in subnets))


def _with_gateway(network: Network, driver: Driver, subnet: Subnet) -> Subnet:
    return with_gateway(subnet) if driver.assigns_gateway(network, subnet.network.version) else subnet


def _check(request: NetworkRequest) -> None:
    name = request.name
    if not name.strip():
        raise InvalidInput("invalid name: name is empty")
    if len(name) > _LONGEST_NAME:
        raise InvalidInput(f"invalid name: it is longer than {_LONGEST_NAME} characters")
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"invalid network name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    if name in (*BUILTIN, "default"):
        raise Forbidden(f"operation is not permitted on predefined {name} network")
    if request.driver in DRIVERS and DRIVERS[request.driver].single:
        raise Forbidden(f'only one instance of "{request.driver}" network is allowed')
    if request.scope not in ("", "local"):
        raise Forbidden("cannot create a swarm scoped network when swarm is not active")
    if request.ingress:
        raise Forbidden("Ingress network can only be global scope network")
    if request.options.get(IFPREFIX):
        check_interface_name(f"{request.options[IFPREFIX]}0")
    if request.ipam_driver not in _IPAM_DRIVERS:
        raise InvalidInput(f"error retrieving IPAM driver: {request.ipam_driver} not found")


# ------------------------------------------------------------------------------------------------------ configurations


def check_configuration(request: NetworkRequest) -> None:
    """Check what does not go together with a configuration, in Docker's words (``validateConfiguration``).

    :raises Forbidden: something does not.
    """
    if request.config_only and (request.ingress or request.internal or request.attachable or request.scope):
        raise Forbidden(
            "configuration network can only contain network specific fields. Network operator fields like "
            "[ ingress | internal | attachable | scope ] are not supported."
        )
    if not request.config_from:
        return
    if request.config_only:
        raise Forbidden("a configuration network cannot depend on another configuration network")
    own = (
        request.ipv6,
        request.labels,
        request.ipam_options,
        request.subnets,
        request.ipam_driver not in _IPAM_DRIVERS,
    )
    if request.ipv4 is False or any(own):
        raise Forbidden(
            "user-specified configurations are not supported if the network depends on a configuration network"
        )
    if request.options:
        raise Forbidden("network driver options are not supported if the network depends on a configuration network")


def configured(request: NetworkRequest, find: Callable[[str], Network]) -> NetworkRequest:
    """The request, with what the configuration says of which the network is to be made, if there is one.

    :param find: finds a configuration by name.
    :raises Forbidden: it does not go together.
    :raises NotFound: there is no such configuration.
    """
    check_configuration(request)
    if not request.config_from:
        return request
    config = find(request.config_from)
    return replace(
        request,
        ipv4=config.ipv4,
        ipv6=config.ipv6,
        options=config.options,
        labels=config.labels,
        ipam_driver=config.ipam_driver,
        ipam_options=config.ipam_options,
        subnets=config.configuration,
    )


def _configuration(request: NetworkRequest, host: HostNetworks) -> Network:
    """A configuration: its subnets are read, and nothing is taken.

    :raises InvalidInput: a subnet makes no sense.
    """
    ipv4, ipv6 = request.ipv4 is not False, bool(request.ipv6)
    parse_subnets(request.subnets, (), ipv4=ipv4, ipv6=ipv6, chosen=host.choose)
    return Network(
        id=secrets.token_hex(32),
        name=request.name,
        driver="null",
        created=time.time_ns(),
        ipv4=ipv4,
        ipv6=ipv6,
        options=request.options,
        labels=request.labels,
        ipam_driver=request.ipam_driver or "default",
        ipam_options=request.ipam_options,
        config_only=True,
        configuration=request.subnets,
    )


def with_defaults(request: NetworkRequest, settings: NetworkSettings) -> NetworkRequest:
    """A request with the options that networks of its driver get, in which it is said whether it is to have IPv6.

    As in Docker it is not by default: with it names have addresses of both families, programs try that of
    IPv6 first, and many listen at IPv4 only. To name a subnet of IPv6 is to ask for it.

    :raises InvalidInput: an option is neither true nor false.
    """
    own = {} if request.config_from else settings.default_options.get(request.driver, {})
    options = {**own, **request.options}
    asked = request.ipv6
    if asked is not None:
        options.pop(IPV6, None)  # it would be shown, and would not be true
    elif options.get(IPV6):
        asked = is_true(options, IPV6, False)
    else:
        asked = any(":" in entry.subnet for entry in request.subnets)
    return replace(request, options=options, ipv6=asked)


def _check_ipv6(mtu: int, *, there: bool) -> None:
    if not there:
        raise InvalidInput("this host has no IPv6, or it is switched off", hint="sysctl net.ipv6.conf.all.disable_ipv6")
    if mtu < IPV6_MTU:
        raise InvalidInput(f"IPv6 needs an MTU of at least {IPV6_MTU} bytes, not {mtu}")


def mtu_of(options: dict[str, str], otherwise: int) -> int:
    """The MTU that the options ask for.

    :raises InvalidInput: it is no number that an interface takes.
    """
    text = options.get(MTU, "")
    if text in ("", "0"):
        return otherwise
    if not text.isdecimal() or len(text) > 5 or not 68 <= int(text) <= 65535:
        raise InvalidInput(f"driver option {MTU}: invalid MTU {text!r}")
    return int(text)


# ------------------------------------------------------------------------------------------------- those always there


def built_in(name: str, driver: str) -> Network:
    """The network ``host`` or ``none``."""
    return Network(id=secrets.token_hex(32), name=name, driver=driver, created=time.time_ns(), ipv4=False)


def default_bridge(settings: NetworkSettings, host: HostNetworks, old: Network | None) -> Network:
    """The network ``bridge`` as the daemon's options want it.

    :param old: as it was so far: its ID stays, and its subnets where no option says otherwise.
    :raises InvalidInput: the options make no sense together.
    :raises Forbidden: no subnet is left.
    """
    given = {name: value for name, value in settings.default_options.get("bridge", {}).items() if name != IPV6}
    mtu = settings.mtu or mtu_of(given, host.mtu)
    had_ipv6 = old is not None and old.ipv6 and host.ipv6 and mtu >= IPV6_MTU
    named_ipv6 = bool(settings.bip6 or settings.fixed_cidr6)  # which is to ask for it
    with_ipv6 = had_ipv6 or named_ipv6 if settings.ipv6 is None else settings.ipv6
    if with_ipv6:
        _check_ipv6(mtu, there=host.ipv6)
    options4 = _FamilyOptions(settings.bip, settings.fixed_cidr, settings.default_gateway)
    subnets = [_default_subnet(4, options4, old.subnet4 if old else None, host)]
    if with_ipv6:
        options6 = _FamilyOptions(settings.bip6, settings.fixed_cidr6, settings.default_gateway6)
        subnets.append(_default_subnet(6, options6, old.subnet6 if old else None, host))
    options = {
        "com.docker.network.bridge.default_bridge": "true",
        "com.docker.network.bridge.enable_icc": str(settings.icc).lower(),
        "com.docker.network.bridge.enable_ip_masquerade": str(settings.ip_masq).lower(),
        "com.docker.network.bridge.host_binding_ipv4": settings.host_address,
        **given,
    }
    plain = "wherry0" if settings.default_exec_root else f"wh{_hash(settings)}0"
    options[BRIDGE_NAME] = settings.bridge or options.get(BRIDGE_NAME) or plain
    options[MTU] = str(mtu)
    network = Network(
        id=old.id if old else secrets.token_hex(32),
        name=DEFAULT_BRIDGE,
        driver="bridge",
        created=old.created if old else time.time_ns(),
        ipv6=with_ipv6,
        options=options,
        subnets=tuple(subnets),
        mtu=mtu,
        borrowed=bool(settings.bridge),
    )
    return find_driver("bridge").check(network)


class _FamilyOptions(NamedTuple):
    """The daemon's options about one family on the default bridge."""

    bip: str
    fixed_cidr: str
    default_gateway: str


def _default_subnet(version: int, given: _FamilyOptions, known: Subnet | None, host: HostNetworks) -> Subnet:
    gateway: Address | None = None
    if given.bip:
        own = _read(ip_interface, given.bip, "bip")
        whole, gateway = own.network, own.ip
    elif known is not None:
        whole, gateway = known.network, known.gateway
    elif given.fixed_cidr:
        whole = _read(ip_network, given.fixed_cidr, "fixed-cidr")
    else:
        whole = host.choose(version)
    if whole.version != version:
        raise InvalidInput(f"{given.bip or given.fixed_cidr} is not of IPv{version}")
    part = _read(ip_network, given.fixed_cidr, "fixed-cidr") if given.fixed_cidr else None
    if part is not None and (part.version != version or not _within(part, whole)):
        raise InvalidInput(f"fixed-cidr {part} is not within the bridge's subnet {whole}")
    auxiliary: dict[str, Address] = {}
    if given.default_gateway:
        auxiliary[ROUTER[version]] = _read(ip_address, given.default_gateway, "default-gateway")
    return with_gateway(Subnet(whole, gateway, part, auxiliary))


def _within(part: Prefix, whole: Prefix) -> bool:
    return part.network_address in whole and part.prefixlen >= whole.prefixlen


def _read(kind: Callable[[str], _T], text: str, option: str) -> _T:
    try:
        return kind(text)
    except ValueError as exc:
        raise InvalidInput(f"invalid value for option {option}: {text!r}", cause=str(exc)) from exc


def check_settings(settings: NetworkSettings) -> None:
    """Check the daemon's options before anything is made of them.

    :raises InvalidInput: one makes no sense.
    """
    check_pools(settings.pools)
    if settings.bridge not in ("", "none") and (settings.bip or settings.bip6):
        raise InvalidInput("You specified -b & --bip, mutually exclusive options. Please specify only one")
    _read(ip_address, settings.host_address, "ip")
    for option, text in (("bip", settings.bip), ("bip6", settings.bip6)):
        if text:
            _read(ip_interface, text, option)
