"""Authentication: identify the caller by the configured scheme, and build the challenge when that fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from wherry.registry.server.access.passwords import Passwords, credentials
from wherry.registry.server.access.rules import RuleGrant, Rules
from wherry.registry.server.access.tokens import Invalid, Verifier
from wherry.registry.server.errors import Refusal
from wherry.registry.server.identity import ANONYMOUS, NOTHING, Everything, Grant, Want

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Authority", "Basic", "Bearer", "Open", "quoted"]

_NOBODY: Final = "Basic Og=="
"""An empty name with an empty password: what skopeo and podman send when they have neither."""


class Authority(Protocol):
    """The contract of an authentication scheme."""

    async def grant(self, headers: Mapping[str, str], address: str) -> Grant:
        """The caller's identity and rights.

        :param address: where from.
        :raises Refusal: what they say of themselves is not true, or they guess too often.
        """
        ...

    def challenge(self, want: Want | None, realm: str, grant: Grant = NOTHING) -> dict[str, str]:
        """The ``WWW-Authenticate`` header; empty when there is no scheme.

        :param realm: the URL of our own token endpoint.
        :param grant: what they have shown, which was not enough.
        """
        ...


class Open:
    """Everybody may do everything."""

    async def grant(self, headers: Mapping[str, str], address: str) -> Grant:
        """Let them in."""
        return Everything()

    def challenge(self, want: Want | None, realm: str, grant: Grant = NOTHING) -> dict[str, str]:
        """There is nothing to prove."""
        return {}


class Basic:
    """Name and password with every request."""

    def __init__(self, passwords: Passwords, rules: Rules) -> None:
        self._passwords = passwords
        self._rules = rules

    async def grant(self, headers: Mapping[str, str], address: str) -> Grant:
        """See the contract; a wrong password is refused, also where nobody would have had to give one."""
        given = headers.get("Authorization")
        if given is None or given == _NOBODY:
            return RuleGrant(ANONYMOUS, self._rules)
        pair = credentials(given)
        who = await self._passwords.check(*pair, address) if pair else None
        if who is None:
            raise Refusal("UNAUTHORIZED", "incorrect username or password", headers=self.challenge(None, ""))
        return RuleGrant(who, self._rules)

    def challenge(self, want: Want | None, realm: str, grant: Grant = NOTHING) -> dict[str, str]:
        """See the contract."""
        return {"WWW-Authenticate": 'Basic realm="wherry-registry", charset="UTF-8"'}


class Bearer:
    """A token with every request."""

    def __init__(self, verifier: Verifier, service: str, realm: str) -> None:
        self._verifier = verifier
        self._service = service
        self._realm = realm

    async def grant(self, headers: Mapping[str, str], address: str) -> Grant:
        """See the contract. A token that is not good is as good as none: the client is told to fetch another."""
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return NOTHING
        try:
            return self._verifier.grant(token.strip())
        except Invalid:
            return NOTHING

    def challenge(self, want: Want | None, realm: str, grant: Grant = NOTHING) -> dict[str, str]:
        """See the contract."""
        words = {"realm": self._realm or realm, "service": self._service}
        if want is not None:
            words["scope"] = f"{want.type}:{want.name}:{','.join(sorted(want.actions))}"
        if grant.proven:
            words["error"] = "insufficient_scope"  # RFC 6750, 3.1; Docker's clients say "denied" then
        return {"WWW-Authenticate": "Bearer " + ",".join(f"{name}={quoted(text)}" for name, text in words.items())}


def quoted(text: str) -> str:
    """A quoted string of RFC 9110."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
