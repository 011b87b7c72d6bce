"""The settings of an engine, as one frozen value.

The daemon makes it out of flags and the configuration file (:mod:`wherry.daemon.options`); a program that embeds the
engine makes it itself. Nothing in here is read from the environment, and nothing is changed afterwards: a reload
(SIGHUP) makes a new value with :func:`dataclasses.replace`.

What does not belong here: how the daemon is reached (sockets, certificates), which the engine does not know.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from wherry.network.model import NetworkOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_DATA_ROOT: Final = Path("/var/lib/wherry")
DEFAULT_EXEC_ROOT: Final = Path("/run/wherry")
DEFAULT_LOG_DRIVER: Final = "json-file"
MEBIBYTE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Ulimit:
    """One resource limit that every container gets unless it asks for another."""

    name: str  #: as in ``setrlimit(2)``, lower case and without ``RLIMIT_``: ``"nofile"``
    soft: int  #: -1 means unlimited
    hard: int  #: -1 means unlimited


@dataclass(frozen=True, slots=True)
class RegistryOptions:
    """How registries are reached; dockerd's options of the same names."""

    insecure: tuple[str, ...] = ()  #: domains and networks that may do without TLS, besides this machine's own
    mirrors: tuple[str, ...] = ()  #: addresses that are asked before Docker Hub
    max_downloads: int = 3  #: blobs at the same time
    max_uploads: int = 5
    max_attempts: int = 5  #: for what may pass: a broken connection, a busy registry


@dataclass(frozen=True, slots=True)
class OciRuntime:
    """Another OCI runtime that containers may ask for."""

    path: str  #: of the program
    arguments: tuple[str, ...] = ()  #: before its verbs


@dataclass(frozen=True, slots=True)
class Settings:
    """Where an engine keeps its things, and what its containers get when they ask for nothing."""

    data_root: Path = DEFAULT_DATA_ROOT  #: absolute; everything that outlives a reboot
    exec_root: Path = DEFAULT_EXEC_ROOT  #: absolute, on a tmpfs as a rule; everything that does not
    labels: tuple[str, ...] = ()  #: ``key=value``, shown by ``info``
    debug: bool = False  #: shown by ``info``; the log level itself is the daemon's matter
    shutdown_timeout: int = 15  #: seconds that containers get to end at a shutdown with ``kill``

    log_driver: str = DEFAULT_LOG_DRIVER  #: one of `wherry.engine.log_drivers.table.LOG_DRIVERS`
    log_options: Mapping[str, str] = field(default_factory=dict)  #: ``max-size``, ``max-file``, ``mode`` ...
    cgroup_parent: str = ""  #: empty: the engine's own default
    ipc_mode: str = "private"  #: or ``shareable``
    cgroupns_mode: str = ""  #: ``private``, ``host``, or empty for what fits the cgroup version
    warnings: tuple[str, ...] = ()  #: what of the configuration has no effect, in sentences; shown by ``info``
    cdi_spec_dirs: tuple[str, ...] = ("/etc/cdi", "/var/run/cdi")  #: specifications of devices; later ones win
    storage_size: int = 0  #: bytes of a container's writable layer; 0: as many as there are
    shm_size: int = 64 * MEBIBYTE  #: bytes of ``/dev/shm``
    ulimits: tuple[Ulimit, ...] = ()
    seccomp_profile: str = ""  #: path of a profile in Docker's JSON form, ``unconfined``, or empty for the default one
    no_new_privileges: bool = False
    runtimes: Mapping[str, OciRuntime] = field(default_factory=dict)  #: by name, beside wherry's own
    default_runtime: str = "wherry"  #: of containers that name none
    init: bool = False  #: every container gets an init process unless it says otherwise
    init_path: str = "docker-init"  #: the program that is one under other runtimes: a path, or a name in PATH
    networks: NetworkOptions = field(default_factory=NetworkOptions)
    registries: RegistryOptions = field(default_factory=RegistryOptions)
    builder: Mapping[str, Any] = field(default_factory=dict)  #: as in daemon.json; `wherry.build.cache.policy` reads it
    buildkit: bool = True  #: clients are told to build by BuildKit's API
