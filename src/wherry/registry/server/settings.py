"""The settings of a registry: one TOML file, and flags for the most common ones.

TOML, because Python reads it without a further library and it has comments. Every table is closed: a word that is
not known is an error, with its place.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, Final

import msgspec

from wherry.errors import InvalidInput

__all__ = [
    "Auth",
    "Collection",
    "Issuer",
    "Limits",
    "Logs",
    "Metrics",
    "Proxy",
    "Quota",
    "Rule",
    "Settings",
    "StorageSettings",
    "Tls",
    "Webhook",
    "load",
    "seconds",
    "size",
]

_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file."""


class Tls(_Table, frozen=True, kw_only=True):
    """``[tls]``: paths of PEM files."""

    certificate: str
    key: str
    client_ca: str = ""  #: clients have to show a certificate that this authority signed


class StorageSettings(_Table, frozen=True, kw_only=True):
    """``[storage]``."""

    type: str = "filesystem"  #: or "memory", "s3"
    engine: str = ""  #: data root of an engine on this machine, whose blobs are linked and not copied
    bucket: str = ""
    prefix: str = ""
    endpoint: str = ""
    region: str = ""
    access_key: str = ""  #: without one, botocore looks in its usual places
    secret_key: str = ""


class Issuer(_Table, frozen=True, kw_only=True):
    """``[[auth.issuers]]``: a further issuer whose tokens are accepted."""

    name: str  #: the token's "iss"
    key: str  #: path of a PEM public key or certificate
    algorithms: tuple[str, ...] = (
        "RS256",
        "ES256",
        "EdDSA",
    )


class Auth(_Table, frozen=True, kw_only=True):
    """``[auth]``."""

    mode: str = "none"  #: or "basic", "token"
    htpasswd: str = ""  #: path; bcrypt only, as `htpasswd -B` writes it
    anonymous_read: bool = False
    realm: str = ""  #: URL of the token endpoint, when it is not this server's own /token
    service: str = "wherry-registry"  #: what tokens have to be for
    key: str = ""  #: path of a PEM private key that signs our tokens; without one a secret is made in the storage
    token_ttl: str = "5m"
    issuers: tuple[Issuer, ...] = ()


class Rule(_Table, frozen=True, kw_only=True):
    """``[[access]]``: an access rule; without any, every authenticated user may do everything."""

    user: str  #: a name, "*" for everybody who is logged in, "anonymous" for everybody else as well
    repositories: str = "*"  #: a pattern: "*" stands for any run of characters, slashes included
    actions: tuple[str, ...] = ("pull",)  #: pull, push, delete, catalog; "*" is all


class Proxy(_Table, frozen=True, kw_only=True):
    """``[proxy]``: be a cache of another registry, and nothing else."""

    upstream: str  #: URL
    username: str = ""
    password_file: str = ""
    ttl: str = "60s"  #: how long a tag is taken for what it was


class Collection(_Table, frozen=True, kw_only=True):
    """``[gc]``."""

    interval: str = "24h"  #: "0" is never
    grace: str = "24h"  #: what is younger is kept, whether anything refers to it or not
    untagged: bool = False  #: collect manifests that no tag and no index names
    upload_ttl: str = "24h"  #: after which an upload that nobody appends to is removed


class Quota(_Table, frozen=True, kw_only=True):
    """``[[quota]]``: the first that fits counts."""

    repositories: str
    size: str


class Webhook(_Table, frozen=True, kw_only=True):
    """``[[webhooks]]``: a receiver of push, pull and delete events."""

    url: str
    headers: dict[str, str] = {}
    timeout: str = "5s"
    retries: int = 8
    queue: int = 1000  #: events that wait at most; when there are more, the oldest are dropped and counted
    actions: tuple[str, ...] = (
        "push",
        "pull",
        "mount",
        "delete",
    )


class Logs(_Table, frozen=True, kw_only=True):
    """``[log]``."""

    level: str = "info"
    access: str = ""  #: path of the access log, "-" for standard output, empty for none
    format: str = "combined"  #: or "json"


class Metrics(_Table, frozen=True, kw_only=True):
    """``[metrics]``."""

    enabled: bool = True  #: at /metrics, to whom may list the catalogue


class Limits(_Table, frozen=True, kw_only=True):
    """``[limits]``."""

    manifest: str = "4M"
    upload: str = "0"  #: of one blob; 0 is none
    idle: str = "60s"  #: how long a client may send nothing in the middle of a body
    connections: int = 512  #: of one worker at once
    page: int = 1000  #: entries of a listing, where a client does not say, and at most


class Settings(_Table, frozen=True, kw_only=True):
    """All of it."""

    addr: str = "127.0.0.1:5000"
    root: str = ""
    workers: int = 1
    read_only: bool = False
    delete: bool = True  #: allow deletes
    sparse_indexes: bool = False  #: accept an index of manifests that are not here
    public_url: str = ""  #: as clients reach it, where a proxy stands before it
    tls: Tls | None = None
    storage: StorageSettings = StorageSettings()
    auth: Auth = Auth()
    access: tuple[Rule, ...] = ()
    proxy: Proxy | None = None
    gc: Collection = Collection()
    quota: tuple[Quota, ...] = ()
    webhooks: tuple[Webhook, ...] = ()
    log: Logs = Logs()
    metrics: Metrics = Metrics()
    limits: Limits = Limits()


def load(path: Path | None, flags: dict[str, Any]) -> Settings:
    """Read the file, apply the flags, and validate.

    :param flags: nested as the file is; only what was given.
    :raises InvalidInput: something is not understood; the message names it.
    """
    configured = _read(path) if path else {}
    merged = _merge(configured, flags)
    try:
        settings = msgspec.convert(merged, Settings)
    except msgspec.ValidationError as error:
        raise InvalidInput("invalid registry settings", cause=str(error)) from error
    _check(settings)
    return settings


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise InvalidInput(f"cannot read '{path}'", cause=(error.strerror or str(error)).lower()) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"'{path}' is no TOML", cause=str(error)) from error


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        old = merged.get(name)
        merged[name] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _check(settings: Settings) -> None:
    """Validate what would otherwise fail at the first request."""
    _one_of("storage.type", settings.storage.type, ("filesystem", "memory", "s3"))
    _one_of("auth.mode", settings.auth.mode, ("none", "basic", "token"))
    _one_of("log.format", settings.log.format, ("combined", "json"))
    if settings.storage.type == "filesystem" and not settings.root:
        raise InvalidInput("a registry needs a directory", hint="give --root DIR")
    if settings.storage.type == "s3" and not settings.storage.bucket:
        raise InvalidInput("storage.bucket is missing")
    if settings.storage.type == "memory" and settings.workers > 1:
        raise InvalidInput("a registry in memory has one worker")
    if settings.limits.connections < 1:
        raise InvalidInput("limits.connections must be at least 1")
    if settings.workers < 1:
        raise InvalidInput("workers must be at least 1")
    if settings.auth.mode == "basic" and not settings.auth.htpasswd:
        raise InvalidInput("auth.htpasswd is missing")
    for rule in settings.access:
        for action in rule.actions:
            _one_of("access.actions", action, ("pull", "push", "delete", "catalog", "*"))
    gc, limits = settings.gc, settings.limits
    for text in (gc.interval, gc.grace, gc.upload_ttl, settings.auth.token_ttl, limits.idle):
        seconds(text)
    for text in (limits.manifest, limits.upload, *(quota.size for quota in settings.quota)):
        size(text)


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InvalidInput(f"{name} is {value!r}, not one of {', '.join(known)}")


def size(text: str) -> int:
    """``"10G"`` in bytes; units are powers of 1024.

    :raises InvalidInput: it is no size.
    """
    match = re.fullmatch(r"(\d{1,15})\s*([KMGT]?)(?:i?B)?", text.strip(), re.ASCII | re.IGNORECASE)
    if not match:
        raise InvalidInput(f"invalid size {text!r}", hint="512M, 10G")
    return int(match[1]) * _UNITS[match[2].upper()]


def seconds(text: str) -> float:
    """``"24h"`` in seconds.

    :raises InvalidInput: it is no duration.
    """
    match = re.fullmatch(r"(\d{1,12}(?:\.\d{1,9})?)\s*(ms|s|m|h|d)?", text.strip(), re.ASCII)
    if not match or not (match[2] or float(match[1]) == 0):
        raise InvalidInput(f"invalid duration {text!r}", hint="90s, 5m, 24h, 7d")
    return float(match[1]) * _SECONDS[match[2] or "s"]
