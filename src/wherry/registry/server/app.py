"""The registry's HTTP application: one request from routing and authentication to its log line."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from aiohttp import web

from wherry.errors import WherryError
from wherry.registry.server import answers, blobs, listings, manifests, routes, uploads
from wherry.registry.server.call import Call, read_query
from wherry.registry.server.errors import Refusal, of_error
from wherry.registry.server.identity import Want

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from wherry.registry.server.access.authority import Authority
    from wherry.registry.server.access.token_endpoint import TokenEndpoint
    from wherry.registry.server.access_log import AccessLog, NoLog
    from wherry.registry.server.metrics import Metrics
    from wherry.registry.server.registry import Registry
    from wherry.registry.server.routes import Target

    Handler = Callable[[Registry, Call], Awaitable[web.StreamResponse]]

__all__ = ["RegistryApp"]

_log = logging.getLogger(__name__)

_HANDLERS: Final[dict[str, dict[str, Handler]]] = {
    "base": {"GET": listings.base, "HEAD": listings.base},
    "catalog": {"GET": listings.catalog},
    "tags": {"GET": listings.tags},
    "referrers": {"GET": listings.referrers},
    "manifests": {
        "GET": manifests.get,
        "HEAD": manifests.get,
        "PUT": manifests.put,
        "DELETE": manifests.delete,
    },
    "blobs": {"GET": blobs.get, "HEAD": blobs.head, "DELETE": blobs.delete},
    "uploads": {"POST": uploads.start},
    "session": {
        "GET": uploads.status,
        "PATCH": uploads.chunk,
        "PUT": uploads.finish,
        "DELETE": uploads.cancel,
    },
}
_READS: Final = ("GET", "HEAD")
_BOTH: Final = frozenset(("pull", "push"))


class Services(NamedTuple):
    """The parts that every request passes: authentication, metrics, the access log."""

    authority: Authority
    metrics_authority: Authority
    token: TokenEndpoint | None
    metrics: Metrics | None
    log: AccessLog | NoLog
    read_only: bool
    idle: float
    public_url: str


class RegistryApp:
    """Handles requests; an ``aiohttp`` low-level handler.

    There is no router and no middleware: what a path means takes one regular expression.
    """

    def __init__(self, registry: Registry, services: Services) -> None:
        self._registry = registry
        self._services = services

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, whatever happens."""
        started = time.perf_counter()
        call = Call(request, routes.Target("other"), {}, idle=self._services.idle)
        response: web.StreamResponse | None = None
        if self._services.metrics:
            self._services.metrics.add("in_flight")
        try:
            response = await self._answer(call)
            # sent from here, so that what is counted and logged is the whole of it
            await response.prepare(request)
            await response.write_eof()
        except ConnectionError:
            _log.debug("the client went away", extra={"path": request.path})
            response = response or web.Response(status=499)
        finally:
            self._note(call, response, time.perf_counter() - started)
        return response

    async def _answer(self, call: Call) -> web.StreamResponse:
        try:
            return await self._handle(call)
        except Refusal as refusal:
            return answers.refused(refusal)
        except WherryError as error:
            answer = of_error(error)
            if answer.status >= 500:
                _log.error("%s %s: %s", call.method, call.request.path, error)
            return answers.refused(answer)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception:
            _log.exception("%s %s", call.method, call.request.path)
            return answers.refused(Refusal("UNKNOWN", "internal error"))

    async def _handle(self, call: Call) -> web.StreamResponse:
        path, _, query = call.request.raw_path.partition("?")
        if path == "/metrics" and self._services.metrics:
            return await self._metrics(call)
        target = routes.target(path)
        if target is None or (target.kind == "token" and self._services.token is None):
            raise Refusal("UNSUPPORTED", "there is nothing here", {"path": path[:256]}, status=404)
        call.target, call.values = target, read_query(query)
        call.query = {name: values[0] for name, values in call.values.items()}
        if target.kind == "token":
            return await self._token(call)
        handler = self._handler(target, call.method)
        await self._admit(call, target)
        return await handler(self._registry, call)

    def _handler(self, target: Target, method: str) -> Handler:
        """The handler of a method on a target.

        :raises Refusal: there is none, or it is switched off.
        """
        methods = _HANDLERS[target.kind]
        if method not in methods:
            allowed = {"Allow": ", ".join(methods)}
            raise Refusal("UNSUPPORTED", f"{method[:16]} is not possible here", headers=allowed)
        if method in _READS:
            return methods[method]
        if self._services.read_only:
            raise Refusal("UNSUPPORTED", "the registry is read-only", headers={"Allow": "GET, HEAD"})
        if self._registry.cache is not None:
            raise Refusal("UNSUPPORTED", "this is a cache of another registry", headers={"Allow": "GET, HEAD"})
        if method == "DELETE" and target.kind != "session" and not self._registry.delete:
            raise Refusal("UNSUPPORTED", "deleting is switched off", headers={"Allow": "GET, HEAD, PUT"})
        return methods[method]

    async def _admit(self, call: Call, target: Target) -> None:
        """Authenticate and authorise the caller.

        :raises Refusal: it is not allowed, or has to authenticate.
        """
        call.grant = await self._services.authority.grant(call.request.headers, call.request.remote or "")
        want = _want(target, call.method)
        if call.grant.proven if want is None else call.grant.allows(want):
            return
        challenge = self._services.authority.challenge(want, f"{self._url(call)}/token", call.grant)
        if call.grant.identity.known:
            # with tokens 401, as everywhere: another token might do
            basic = challenge["WWW-Authenticate"].startswith("Basic")
            status, headers = (403, {}) if basic else (401, challenge)
            raise Refusal("DENIED", "requested access to the resource is denied", _detail(want), status, headers)
        raise Refusal("UNAUTHORIZED", "authentication required", _detail(want), headers=challenge)

    def _url(self, call: Call) -> str:
        return self._services.public_url.rstrip("/") or f"{call.request.scheme}://{call.request.host}"

    async def _token(self, call: Call) -> web.StreamResponse:
        endpoint = self._services.token
        if endpoint is None or call.method not in ("GET", "POST"):
            raise Refusal("UNSUPPORTED", "tokens are asked for by GET or POST", headers={"Allow": "GET, POST"})
        return await (endpoint.get(call) if call.method == "GET" else endpoint.post(call))

    async def _metrics(self, call: Call) -> web.StreamResponse:
        authority, metrics = self._services.metrics_authority, self._services.metrics
        call.grant = await authority.grant(call.request.headers, call.request.remote or "")
        if not call.grant.allows(Want("registry", "catalog", frozenset("*"))):
            raise Refusal("UNAUTHORIZED", "authentication required", headers=authority.challenge(None, ""))
        assert metrics is not None
        metrics.set("events_dropped", self._registry.events.dropped)
        return web.Response(text=metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    def _note(self, call: Call, response: web.StreamResponse | None, seconds: float) -> None:
        status = response.status if response is not None else 500
        sent = (response.content_length or 0) if response is not None and call.method != "HEAD" else 0
        self._services.log.line(call.request, status, sent, seconds, call.grant.identity.name)
        metrics = self._services.metrics
        if metrics:
            kind = "uploads" if call.target.kind == "session" else call.target.kind
            metrics.request(kind, call.method, status, seconds)
            metrics.add("in_flight", -1)
            metrics.add("bytes_in", call.received)
            metrics.add("bytes_out", sent)


def _want(target: Target, method: str) -> Want | None:
    """The access that a request needs; None for ``/v2/``, which needs authentication only."""
    if target.kind == "base":
        return None
    if target.kind == "catalog":
        return Want("registry", "catalog", frozenset("*"))
    if method in _READS and target.kind != "session":
        return Want("repository", target.name, frozenset(("pull",)))
    if method == "DELETE" and target.kind != "session":
        return Want("repository", target.name, frozenset(("delete",)))
    return Want("repository", target.name, _BOTH)


def _detail(want: Want | None) -> list[dict[str, str]] | None:
    if want is None:
        return None
    return [{"Type": want.type, "Name": want.name, "Action": action} for action in sorted(want.actions)]
