"""The composition root: from the settings to everything that answers."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from wherry.errors import InvalidInput, NotFound
from wherry.registry.server.access.authority import Authority, Basic, Bearer, Open
from wherry.registry.server.access.rules import Rules
from wherry.registry.server.access_log import open_log
from wherry.registry.server.app import RegistryApp, Services
from wherry.registry.server.catalog import Catalog
from wherry.registry.server.engine import Engine
from wherry.registry.server.events import Events
from wherry.registry.server.gc import GarbageCollector
from wherry.registry.server.quota import Quotas
from wherry.registry.server.records import SECRET
from wherry.registry.server.registry import Registry
from wherry.registry.server.sessions import Sessions
from wherry.registry.server.settings import seconds, size
from wherry.registry.storage.filesystem import FilesystemStorage

if TYPE_CHECKING:
    from wherry.registry.server.access.passwords import Passwords
    from wherry.registry.server.access.token_endpoint import TokenEndpoint
    from wherry.registry.server.access_log import AccessLog, NoLog
    from wherry.registry.server.metrics import Metrics
    from wherry.registry.server.settings import Settings
    from wherry.registry.storage.contract import Storage

__all__ = ["Assembly", "assemble", "garbage_collector", "open_storage", "renewed"]

_SECRET_RACE_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Assembly:
    """A registry and its services, ready to answer."""

    app: RegistryApp
    services: Services
    registry: Registry
    gc: GarbageCollector

    async def close(self) -> None:
        """Let go of everything."""
        await self.registry.events.close()
        if self.registry.cache is not None:
            await self.registry.cache.close()
        await self.registry.catalog.storage.close()


def open_storage(settings: Settings) -> Storage:
    """The storage that the settings ask for.

    :raises InvalidInput: it can't be used.
    :raises Unsupported: a library is missing.
    """
    options = settings.storage
    if options.type == "memory":
        from wherry.registry.storage.memory import MemoryStorage  # noqa: PLC0415 - one of three

        return MemoryStorage()
    if options.type == "s3":
        from wherry.registry.storage.s3 import S3Storage  # noqa: PLC0415 - an extra, and seconds to load

        return S3Storage(
            options.bucket,
            prefix=options.prefix,
            endpoint=options.endpoint,
            region=options.region,
            access_key=options.access_key,
            secret_key=options.secret_key,
        )
    engine = Path(options.engine) / "content" if options.engine else None
    return FilesystemStorage(Path(settings.root), engine)


def garbage_collector(settings: Settings, catalog: Catalog) -> GarbageCollector:
    """The garbage collector of a registry."""
    return GarbageCollector(catalog, untagged=settings.gc.untagged, upload_ttl=seconds(settings.gc.upload_ttl))


async def assemble(settings: Settings, metrics: Metrics | None = None) -> Assembly:
    """Build everything; to be called on the event loop that will use it.

    :raises InvalidInput: the settings can't be used.
    """
    storage = open_storage(settings)
    catalog = Catalog(storage, seconds(settings.gc.grace))
    sessions = Sessions(storage)
    cache = None
    if settings.proxy is not None:
        from wherry.registry.server.proxy.pull_through import Cache  # noqa: PLC0415 - the client's half, which few registries need

        cache = Cache(settings.proxy, catalog, sessions, metrics)
    registry = Registry(
        catalog=catalog,
        sessions=sessions,
        quotas=Quotas(catalog, sessions, []),
        events=Events(settings.webhooks, settings.public_url),
        cache=cache,
    )
    registry = _limited(registry, settings)
    services = await _services(settings, storage, metrics, open_log(settings.log.access, settings.log.format))
    return Assembly(RegistryApp(registry, services), services, registry, garbage_collector(settings, catalog))


async def renewed(old: Assembly, settings: Settings, metrics: Metrics | None) -> Assembly:
    """The same registry with other rights, passwords, keys and limits; storage, cache, web hooks and log stay.

    :raises InvalidInput: the settings can't be used.
    """
    registry = _limited(old.registry, settings)
    services = await _services(settings, registry.catalog.storage, metrics, old.services.log)
    return Assembly(RegistryApp(registry, services), services, registry, old.gc)


def _limited(registry: Registry, settings: Settings) -> Registry:
    limits = [(quota.repositories, size(quota.size)) for quota in settings.quota]
    return replace(
        registry,
        engine=Engine(Path(settings.storage.engine) / "content", settings.public_url)
        if settings.storage.engine
        else None,
        quotas=Quotas(registry.catalog, registry.sessions, limits),
        open_to_all=settings.auth.mode == "none",
        delete=settings.delete,
        sparse_indexes=settings.sparse_indexes,
        max_manifest=size(settings.limits.manifest),
        max_upload=size(settings.limits.upload),
        page=settings.limits.page,
    )


async def _services(settings: Settings, storage: Storage, metrics: Metrics | None, log: AccessLog | NoLog) -> Services:
    rules = Rules(settings.access, anonymous_read=settings.auth.anonymous_read)
    passwords = _passwords(settings)
    authority: Authority = Open()
    if settings.auth.mode != "none" and passwords is not None:
        authority = Basic(passwords, rules)
    metrics_authority, token = authority, None
    if settings.auth.mode == "token":
        authority, token = await _tokens(settings, storage, passwords, rules)
    return Services(
        authority=authority,
        metrics_authority=metrics_authority,
        token=token,
        metrics=metrics if settings.metrics.enabled else None,
        log=log,
        read_only=settings.read_only,
        idle=seconds(settings.limits.idle),
        public_url=settings.public_url,
    )


def _passwords(settings: Settings) -> Passwords | None:
    if settings.auth.mode == "none" or not settings.auth.htpasswd:
        return None
    from wherry.registry.server.access.passwords import Passwords  # noqa: PLC0415 - an extra

    return Passwords(Path(settings.auth.htpasswd))


async def _tokens(
    settings: Settings, storage: Storage, passwords: Passwords | None, rules: Rules
) -> tuple[Authority, TokenEndpoint | None]:
    """Tokens: ours, unless all of them are issued elsewhere; others' as well."""
    from wherry.registry.server.access.token_endpoint import TokenEndpoint  # noqa: PLC0415 - an extra
    from wherry.registry.server.access.tokens import Issuer, Verifier  # noqa: PLC0415 - an extra

    auth = settings.auth
    issuer = None
    if not auth.realm:
        key = _read_key(auth.key) if auth.key else await _secret(storage)
        issuer = Issuer(key, auth.service, seconds(auth.token_ttl), passwords.mark if passwords else _nobody)
    elif not auth.issuers:
        raise InvalidInput("auth.realm says that tokens are issued elsewhere, and auth.issuers not by whom")
    verifier = Verifier(auth.service, issuer, auth.issuers)
    endpoint = TokenEndpoint(issuer, passwords, rules) if issuer else None
    return Bearer(verifier, auth.service, auth.realm), endpoint


def _nobody(name: str) -> None:
    """No passwords are configured: every name is unknown."""


def _read_key(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot read '{path}'", cause=str(error.strerror).lower()) from error


async def _secret(storage: Storage) -> bytes:
    """The secret that all instances share. Of several that make one at the same time, as workers do at a first start,
    the last one's counts; so whoever made one waits until the others have made theirs, and looks again."""
    try:
        secret = await storage.read(SECRET)
        if len(secret) >= 32:
            return secret
    except NotFound:
        await storage.write(SECRET, secrets.token_hex(32).encode())
        await asyncio.sleep(_SECRET_RACE_SECONDS)
        return await storage.read(SECRET)
    raise InvalidInput("the secret that signs tokens is damaged", hint=f"remove {SECRET} from the storage")
