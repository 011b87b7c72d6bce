"""The endpoints of a domain: addresses to try in order, mirrors first, with their TLS settings."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from yarl import URL

from wherry.distribution.client.addresses import check_domain, is_insecure
from wherry.distribution.client.settings import RegistrySettings
from wherry.errors import InvalidInput

__all__ = ["DOCKER_HUB", "Endpoint", "endpoints", "trust"]

DOCKER_HUB: Final = "docker.io"
#: Docker Hub's registry has another name than its images.
_HUB_HOST: Final = "registry-1.docker.io"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of a registry.

    :param url: what ``/v2/`` is put behind.
    :param tls: what a server's certificate is checked with; None without TLS.
    :param is_insecure: whether plain HTTP, or a certificate that nobody vouches for, would do.
    """

    url: URL
    tls: ssl.SSLContext | None
    is_insecure: bool = False
    is_mirror: bool = False


def endpoints(domain: str, settings: RegistrySettings, *, mirrors: bool = False) -> list[list[Endpoint]]:
    """The endpoints of a domain, mirrors first; of each the addresses to try, with TLS first.

    :param mirrors: whether a copy will do: for reading.
    :raises InvalidInput: it can be none, or certificates for it are incomplete or unreadable.
    """
    check_domain(domain)
    found = []
    if mirrors and domain == DOCKER_HUB:
        found += [_mirror(text, settings) for text in settings.mirrors]
    host = _HUB_HOST if domain == DOCKER_HUB else domain
    return [*found, _addresses(host, host, "", settings, mirror=False)]


def _mirror(text: str, settings: RegistrySettings) -> list[Endpoint]:
    url = URL(text)
    found = _addresses(str(url.authority), url.authority, url.path.rstrip("/"), settings, mirror=True)
    if url.scheme == "http":
        return [Endpoint(URL(f"http://{url.authority}{url.path.rstrip('/')}"), None, is_insecure=True, is_mirror=True)]
    return found[:1]


def _addresses(domain: str, host: str, path: str, settings: RegistrySettings, *, mirror: bool) -> list[Endpoint]:
    insecure = is_insecure(domain, settings.insecure) and not _has_authority(domain, settings.certificates)
    context = trust(domain, settings.certificates, verify=not insecure)
    found = [Endpoint(URL(f"https://{host}{path}"), context, insecure, mirror)]
    if insecure:
        found.append(Endpoint(URL(f"http://{host}{path}"), None, insecure, mirror))
    return found


def _has_authority(domain: str, directories: tuple[Path, ...]) -> bool:
    """Whether a CA certificate is configured for the registry; then it is required."""
    return any(
        path.suffix == ".crt" for base in directories if (base / domain).is_dir() for path in (base / domain).iterdir()
    )


def public_trust() -> ssl.SSLContext:
    """The machine's certificate authorities, for hosts that nothing else is known of: where a registry redirects to.

    They are read again when they have changed, as that takes longer than a short conversation with a registry. Not
    aiohttp's own default, which stays as it was when it was imported.
    """
    paths = ssl.get_default_verify_paths()
    return _public_trust(tuple((path, _changed(path)) for path in (paths.cafile, paths.capath) if path))


@lru_cache(maxsize=1)
def _public_trust(_: tuple[tuple[str, int], ...]) -> ssl.SSLContext:
    return _verifying()


def _changed(path: str) -> int:
    """When a file or a directory was changed; 0 if it is not there."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _verifying() -> ssl.SSLContext:
    """A context that is as strict as Docker: Python 3.13 refuses authorities that were made without a key usage."""
    context = ssl.create_default_context()
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def trust(domain: str, directories: tuple[Path, ...], *, verify: bool) -> ssl.SSLContext:
    """The TLS context for a registry: its CAs and our client certificate (Docker's ``certs.d``).

    ``*.crt`` are authorities, ``NAME.cert`` and ``NAME.key`` are a certificate of ours.

    :raises InvalidInput: half of a pair is missing, or a file cannot be read as what it is called.
    """
    own = [path for base in directories if (base / domain).is_dir() for path in sorted((base / domain).iterdir())]
    if verify and not own:
        return public_trust()
    context = _verifying() if verify else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    for path in own:
        try:
            _take(context, path)
        except (OSError, ssl.SSLError) as exc:
            raise InvalidInput(f"cannot use the certificate {path}", cause=str(exc)) from exc
    return context


def _take(context: ssl.SSLContext, path: Path) -> None:
    if path.suffix == ".crt":
        context.load_verify_locations(path)
    elif path.suffix == ".cert":
        key = path.with_suffix(".key")
        if not key.exists():
            raise InvalidInput(f"missing key {key.name} for client certificate {path.name}")
        context.load_cert_chain(path, key)
    elif path.suffix == ".key" and not path.with_suffix(".cert").exists():
        raise InvalidInput(f"missing client certificate {path.with_suffix('.cert').name} for key {path.name}")
