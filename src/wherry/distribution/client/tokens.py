"""Client authentication: basic, and bearer tokens (the distribution project's token and OAuth2 specifications).

A registry says by a challenge where its tokens are issued. It may lie, so: tokens are fetched with TLS where the
registry itself has it, and never from this machine itself for a registry that is elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlencode

import msgspec
from yarl import URL

from wherry.distribution.client.addresses import is_local
from wherry.distribution.client.challenge import Challenge
from wherry.distribution.client.credentials import Credentials
from wherry.distribution.client.endpoints import Endpoint
from wherry.distribution.client.http import Http, Request, failure, read_bounded
from wherry.errors import Forbidden, InvalidInput, Unauthenticated

__all__ = ["Authorizer", "check_realm"]

_MAX_TOKEN: Final = 1 << 20
_LEAST_SECONDS: Final = 60  # "for compatibility with older clients, a token should never be returned with less"
_CLIENT: Final = "wherry"


class _Token(msgspec.Struct):
    token: str = ""
    access_token: str = ""
    refresh_token: str = ""
    expires_in: int = 0


class Authorizer:
    """Answers one endpoint's challenges with one set of credentials; caches tokens by scope.

    :ivar identity_token: the refresh token that the token server issued for a password, at a login.
    """

    def __init__(self, http: Http, endpoint: Endpoint, credentials: Credentials) -> None:
        self._http = http
        self._endpoint = endpoint
        self._credentials = credentials
        self._scheme = ""
        self._tokens: dict[str, tuple[str, float]] = {}
        self.identity_token = ""

    def header(self, scopes: Iterable[str]) -> dict[str, str]:
        """The headers for a request, as far as known without asking."""
        if self._credentials.registry_token:
            return {"Authorization": f"Bearer {self._credentials.registry_token}"}
        if self._scheme == "basic":
            return {"Authorization": self._credentials.basic()}
        token, end = self._tokens.get(" ".join(scopes), ("", 0.0))
        return {"Authorization": f"Bearer {token}"} if token and time.monotonic() < end else {}

    def greeted(self, challenges: Iterable[Challenge]) -> None:
        """Note the challenge of the first response; with basic authentication credentials are sent at once."""
        if {challenge.scheme for challenge in challenges} == {"basic"} and self._credentials.has_password:
            self._scheme = "basic"

    async def answer(self, challenges: Iterable[Challenge], scopes: Iterable[str], *, offline: bool = False) -> None:
        """Answer a challenge: fetch a token, or switch to basic authentication.

        :param offline: ask for an identity token as well.
        :raises Unauthenticated: we have nothing to show, or it is not enough.
        """
        by_scheme = {challenge.scheme: challenge for challenge in challenges}
        if "bearer" in by_scheme and not self._credentials.registry_token:
            await self._fetch(by_scheme["bearer"], " ".join(scopes), offline=offline)
        elif "basic" in by_scheme and self._credentials.has_password:
            self._scheme = "basic"
        elif "basic" in by_scheme:
            raise Unauthenticated("no basic auth credentials")
        else:
            raise Unauthenticated("unauthorized: authentication required")

    async def _fetch(self, challenge: Challenge, scopes: str, *, offline: bool) -> None:
        realm = check_realm(challenge.parameters.get("realm", ""), self._endpoint)
        service = challenge.parameters.get("service", "")
        wanted = scopes or challenge.parameters.get("scope", "")
        request = self._request(realm, service, wanted, offline=offline)
        async with self._http.send(request, self._endpoint) as response:
            if response.status != 200:
                error = await failure(response, request)
                raise _refused(error)
            body = await read_bounded(response, _MAX_TOKEN, "the registry's token")
        token = _decode(body)
        seconds = max(token.expires_in, _LEAST_SECONDS) * 0.9
        self._tokens[scopes] = (token.token or token.access_token, time.monotonic() + seconds)
        self.identity_token = token.refresh_token or self.identity_token

    def _request(self, realm: URL, service: str, scopes: str, *, offline: bool) -> Request:
        mine = self._credentials
        if mine.identity_token:
            fields = {"grant_type": "refresh_token", "service": service, "client_id": _CLIENT, "scope": scopes}
            body = urlencode({**fields, "refresh_token": mine.identity_token}).encode()
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            return Request("POST", realm, headers, body)
        query = [("scope", one) for one in scopes.split()]
        if service:
            query.append(("service", service))
        if mine.username:
            query.append(("account", mine.username))
        if offline:
            query += [("offline_token", "true"), ("client_id", _CLIENT)]
        headers = {"Authorization": mine.basic()} if mine.has_password else {}
        return Request("GET", realm.update_query([*realm.query.items(), *query]), headers)


def check_realm(realm: str, endpoint: Endpoint) -> URL:
    """The address at which a registry has its tokens issued.

    :raises Forbidden: no honest registry of that address would name it.
    :raises InvalidInput: it is no address.
    """
    try:
        url = URL(realm)
    except ValueError:
        url = URL("")
    if url.scheme not in ("http", "https") or not url.host or url.user is not None:
        raise InvalidInput(f"the registry names an invalid token realm: {realm[:200]!r}")
    if url.scheme == "http" and endpoint.url.scheme == "https" and not endpoint.is_insecure:
        raise Forbidden(f"the registry asks for credentials to be sent in plain text, to {url.host!r}", hint="refused")
    if is_local(url.host) and not is_local(endpoint.url.host or ""):
        raise Forbidden(f"the registry has tokens issued by this machine itself, at {url.host!r}", hint="refused")
    return url


def _decode(body: bytes) -> _Token:
    try:
        token = msgspec.json.decode(body, type=_Token)
    except msgspec.MsgspecError as exc:
        raise InvalidInput("the registry's token is not to be understood", cause=str(exc)) from exc
    if not (token.token or token.access_token):
        raise Unauthenticated("the place that issues tokens gave none")
    if not (token.token or token.access_token).isprintable():
        raise InvalidInput("the registry's token is not to be understood")
    return token


def _refused(error: Exception) -> Exception:
    """A token that is refused means that the credentials are wrong."""
    if isinstance(error, Forbidden | InvalidInput):
        return Unauthenticated(str(error))
    return error
