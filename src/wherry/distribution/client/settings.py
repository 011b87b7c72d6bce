"""The settings of a registry client, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

__all__ = ["CERTIFICATES", "RegistrySettings", "Timing"]

#: Where certificates for registries are looked for: ``<host[:port]>/ca.crt``, ``client.cert``, ``client.key``.
CERTIFICATES: Final = (Path("/etc/wherry/certs.d"), Path("/etc/docker/certs.d"))


@dataclass(frozen=True, slots=True)
class Timing:
    """Timeouts and delays of a client, in seconds except for the rate.

    :param connect: to a connection.
    :param silence: without a byte, once connected.
    :param document: for a whole manifest, token or error.
    :param window: over which `slowest` is measured.
    :param slowest: bytes a second; a blob that comes more slowly counts as a broken connection.
    :param pause: before the first repetition; it doubles with each.
    :param longest_pause: no pause is longer, whatever the registry asks for.
    """

    connect: float = 30.0
    silence: float = 60.0
    document: float = 60.0
    window: float = 60.0
    slowest: int = 256
    pause: float = 0.5
    longest_pause: float = 60.0


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """How registries are reached.

    :param insecure: domains and networks (``10.0.0.0/8``) that may do without TLS or with a certificate that nobody
        vouches for. Loopback addresses always may.
    :param mirrors: addresses that are asked before Docker Hub.
    :param max_downloads: blobs that are fetched at the same time.
    :param max_uploads: blobs that are sent at the same time.
    :param max_attempts: attempts of an operation that fails with a transient error.
    """

    insecure: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()
    max_downloads: int = 3
    max_uploads: int = 5
    max_attempts: int = 5
    certificates: tuple[Path, ...] = CERTIFICATES
    timing: Timing = field(default_factory=Timing)
