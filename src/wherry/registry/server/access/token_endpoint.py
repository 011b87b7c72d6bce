"""``/token``: names and passwords in, tokens out; as a GET, or as a POST in OAuth 2's form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from wherry.registry.server import answers
from wherry.registry.server.access.passwords import Passwords, credentials
from wherry.registry.server.access.tokens import Invalid, Issuer
from wherry.registry.server.errors import Refusal
from wherry.registry.server.identity import ANONYMOUS, Identity, scopes

if TYPE_CHECKING:
    from aiohttp import web

    from wherry.registry.server.access.rules import Rules
    from wherry.registry.server.call import Call

__all__ = ["TokenEndpoint"]

_MAX_FORM = 64 << 10


class TokenEndpoint:
    """Issues tokens.

    :param passwords: None when everybody is anonymous.
    """

    def __init__(self, issuer: Issuer, passwords: Passwords | None, rules: Rules) -> None:
        self._issuer = issuer
        self._passwords = passwords
        self._rules = rules

    async def get(self, call: Call) -> web.StreamResponse:
        """Issue a token, for a password or anonymously."""
        given = call.header("Authorization")
        who = ANONYMOUS if given is None else await self._check(call, credentials(given))
        asked = parse_qs(call.request.query_string, max_num_fields=64)
        wanted = " ".join(asked.get("scope", []))
        self._require_service(asked)
        answer = self._token(who, wanted)
        if who.known and asked.get("offline_token") == ["true"]:
            answer["refresh_token"] = self._issuer.refresh_token(who)
        return answers.json(answer, {"Cache-Control": "no-store"})

    async def post(self, call: Call) -> web.StreamResponse:
        """With a password or a refresh token, in a form."""
        try:
            form = parse_qs((await call.document(_MAX_FORM)).decode(), max_num_fields=64)
        except ValueError as error:
            raise Refusal("UNSUPPORTED", "this is no form", status=400) from error
        self._require_service(form)
        kind = form.get("grant_type", [""])[0]
        if kind == "refresh_token":
            kept = form.get("refresh_token", [""])[0]
            who = self._refreshed(kept)
        elif kind == "password":
            who = await self._check(call, (form.get("username", [""])[0], form.get("password", [""])[0]))
            kept = self._issuer.refresh_token(who) if form.get("access_type") == ["offline"] else ""
        else:
            raise Refusal("UNSUPPORTED", "unknown grant_type", {"grant_type": kind[:32]}, status=400)
        answer = self._token(who, " ".join(form.get("scope", [])))
        answer["scope"] = " ".join(form.get("scope", []))
        if kept:  # the same as before: one that renewed itself would never end
            answer["refresh_token"] = kept
        return answers.json(answer, {"Cache-Control": "no-store"})

    async def _check(self, call: Call, pair: tuple[str, str] | None) -> Identity:
        address = call.request.remote or ""
        who = await self._passwords.check(*pair, address) if self._passwords and pair else None
        if who is None:
            headers = {"WWW-Authenticate": 'Basic realm="wherry-registry"'}
            raise Refusal("UNAUTHORIZED", "incorrect username or password", headers=headers)
        return who

    def _refreshed(self, token: str) -> Identity:
        try:
            return self._issuer.refreshed(token)
        except Invalid as error:
            raise Refusal("UNAUTHORIZED", "the refresh token is not good", str(error)) from error

    def _require_service(self, asked: dict[str, list[str]]) -> None:
        service = asked.get("service", [self._issuer.service])[0]
        if service != self._issuer.service:
            raise Refusal("DENIED", "tokens are issued for another service", {"service": service[:128]})

    def _token(self, who: Identity, wanted: str) -> dict[str, Any]:
        """A token for the requested scopes as far as the rules allow, possibly none."""
        access = []
        for want in scopes(wanted):
            allowed = self._rules.actions(who, want)
            granted = allowed if "*" in want.actions and want.type != "registry" else allowed & want.actions
            if granted:
                access.append((want, granted))
        token = self._issuer.access_token(who, access)
        return {"token": token, "access_token": token, "expires_in": int(self._issuer.ttl)}
