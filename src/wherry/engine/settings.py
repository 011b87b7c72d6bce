"""What an engine is told at its start, as one frozen value.

The daemon makes it out of flags and the configuration file (:mod:`wherry.daemon.options`); a program that embeds the
engine makes it itself. Nothing in here is read from the environment, and nothing is changed afterwards: a reload
(SIGHUP) makes a new value with :func:`dataclasses.replace`.

What does not belong here: how the daemon is reached (sockets, certificates), which the engine does not know.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_DATA_ROOT: Final = Path("/var/lib/wherry")
DEFAULT_EXEC_ROOT: Final = Path("/run/wherry")
MEBIBYTE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Ulimit:
    """One resource limit that every container gets unless it asks for another."""

    name: str  #: as in ``setrlimit(2)``, lower case and without ``RLIMIT_``: ``"nofile"``
    soft: int  #: -1 means unlimited
    hard: int  #: -1 means unlimited


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """What the daemon was told about networks; the names and meanings are those of dockerd's options."""

    bridge: str = ""  #: an existing bridge for the default network; ``none``: no default network
    bip: str = ""  #: the default bridge's address with its prefix length
    bip6: str = ""
    fixed_cidr: str = ""  #: the part of the default bridge's subnet that containers get addresses from
    fixed_cidr6: str = ""
    default_gateway: str = ""
    default_gateway6: str = ""
    pools: tuple[tuple[str, int], ...] = ()  #: ``default-address-pools``: base and size of each subnet
    ipv6: bool | None = None  #: on the default bridge; None: when the host has it
    mtu: int = 0  #: bytes; 0: the uplink's
    icc: bool = True  #: containers on the default bridge reach one another
    ip_forward: bool = True
    ip_forward_no_drop: bool = False
    ip_masq: bool = True
    host_address: str = "0.0.0.0"  #: ``ip``: where ports are published that name no address
    default_options: Mapping[str, dict[str, str]] = field(default_factory=dict)  #: ``default-network-opts``, by driver
    dns: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    host_gateway_ips: tuple[str, ...] = ()  #: what ``--add-host NAME:host-gateway`` means


@dataclass(frozen=True, slots=True)
class RegistryOptions:
    """How registries are reached; dockerd's options of the same names."""

    insecure: tuple[str, ...] = ()  #: domains and networks that may do without TLS, besides this machine's own
    mirrors: tuple[str, ...] = ()  #: addresses that are asked before Docker Hub
    max_downloads: int = 3  #: blobs at the same time
    max_uploads: int = 5
    max_attempts: int = 5  #: for what may pass: a broken connection, a busy registry


@dataclass(frozen=True, slots=True)
class Settings:
    """Where an engine keeps its things, and what its containers get when they ask for nothing."""

    data_root: Path = DEFAULT_DATA_ROOT  #: absolute; everything that outlives a reboot
    exec_root: Path = DEFAULT_EXEC_ROOT  #: absolute, on a tmpfs as a rule; everything that does not
    labels: tuple[str, ...] = ()  #: ``key=value``, shown by ``info``
    debug: bool = False  #: shown by ``info``; the log level itself is the daemon's matter
    shutdown_timeout: int = 15  #: seconds that containers get to end at a shutdown with ``kill``

    log_driver: str = "json-file"  #: ``json-file`` and ``local`` are names for wherry's own segments; or ``none``
    log_options: Mapping[str, str] = field(default_factory=dict)  #: ``max-size``, ``max-file``, ``mode`` ...
    cgroup_parent: str = ""  #: empty: the engine's own default
    shm_size: int = 64 * MEBIBYTE  #: bytes of ``/dev/shm``
    ulimits: tuple[Ulimit, ...] = ()
    seccomp_profile: str = ""  #: path of a profile in Docker's JSON form, ``unconfined``, or empty for the default one
    no_new_privileges: bool = False
    init: bool = False  #: every container gets an init process unless it says otherwise
    networks: NetworkOptions = field(default_factory=NetworkOptions)
    registries: RegistryOptions = field(default_factory=RegistryOptions)
