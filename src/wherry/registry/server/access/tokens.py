"""Bearer tokens: signed grants (the distribution project's token specification).

Our own are made by :class:`Issuer` for whoever has a password, or for anybody as far as anonymous may do something.
Those of others are taken when their name and key are in the settings. PyJWT does the cryptography.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from wherry.errors import InvalidInput, Unsupported
from wherry.registry.server.identity import ANONYMOUS, Identity, Want

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from wherry.registry.server import settings

__all__ = ["Invalid", "Issuer", "TokenGrant", "Verifier", "library"]

OUR_NAME: Final = "wherry-registry"
_LEEWAY: Final = 30
_REFRESH_SECONDS: Final = 90 * 86400.0


class Invalid(Exception):
    """A token is not good here; the text says why."""


def library() -> Any:
    """PyJWT.

    :raises Unsupported: it is not installed.
    """
    try:
        import jwt  # noqa: PLC0415 - an extra; only registries with tokens need it
    except ImportError as error:
        raise Unsupported("tokens need the library PyJWT", hint="pip install 'wherry[registry]'") from error
    return jwt


@dataclass(frozen=True, slots=True)
class TokenGrant:
    """A grant by token; see `wherry.registry.server.identity.Grant`."""

    identity: Identity
    access: dict[tuple[str, str], frozenset[str]]
    proven: bool = True

    def allows(self, want: Want) -> bool:
        """Whether they may do all of it."""
        allowed = self.access.get((want.type, want.name), frozenset())
        return "*" in allowed or want.actions <= allowed


@dataclass(frozen=True, slots=True)
class _Key:
    issuer: str
    key: Any
    algorithms: tuple[str, ...]


class Issuer:
    """Makes our own tokens.

    :param key: a PEM private key (RSA, EC or Ed25519), or 32 or more random bytes that all instances share.
    :param service: who the tokens are for.
    :param ttl: seconds for which one is good.
    :param mark: what changes when somebody's password does; None for who is not known any more. It is in their
        tokens, which are good as long as it is the same.
    """

    def __init__(self, key: bytes, service: str, ttl: float, mark: Callable[[str], str | None]) -> None:
        self._jwt = library()
        self._key, self._algorithm, self.public = _read_key(key)
        self._mark = mark
        self.service = service
        self.ttl = max(60.0, ttl)  # the specification: clients may take sixty seconds for granted

    def access_token(self, who: Identity, access: Iterable[tuple[Want, frozenset[str]]]) -> str:
        """A token that allows this."""
        granted = [{"type": want.type, "name": want.name, "actions": sorted(actions)} for want, actions in access]
        return self._sign({**self._about(who), "access": granted}, self.ttl)

    def refresh_token(self, who: Identity) -> str:
        """A refresh token: replaces a password until it changes, for three months at most.

        ``docker login`` keeps it in place of the password.
        """
        return self._sign({**self._about(who), "refresh": True}, _REFRESH_SECONDS)

    def refreshed(self, token: str) -> Identity:
        """The user of a refresh token.

        :raises Invalid: it is none of ours, or not good any more.
        """
        claims = _decode(self._jwt, token, self.key(), self.service)
        if claims.get("refresh") is not True or not claims.get("sub"):
            raise Invalid("not a refresh token")
        self.require_current(claims)
        return Identity(str(claims["sub"]))

    def require_current(self, claims: dict[str, Any]) -> None:
        """Check that a token's user still exists and has the same password.

        :raises Invalid: not so.
        """
        name = claims.get("sub")
        if name and claims.get("pwd") != (self._mark(str(name)) or "nobody"):
            raise Invalid("the password has changed since")

    def _about(self, who: Identity) -> dict[str, Any]:
        return {"sub": who.name, "pwd": self._mark(who.name)} if who.known else {"sub": ""}

    def key(self) -> _Key:
        """The key that verifies our tokens."""
        return _Key(OUR_NAME, self.public, (self._algorithm,))

    def _sign(self, claims: dict[str, Any], ttl: float) -> str:
        now = int(time.time())
        payload = {**claims, "iss": OUR_NAME, "aud": self.service, "iat": now, "nbf": now, "exp": now + int(ttl)}
        token: str = self._jwt.encode({**payload, "jti": secrets.token_hex(8)}, self._key, algorithm=self._algorithm)
        return token


class Verifier:
    """Takes tokens from us and from others.

    :param service: who a token has to be for.
    :param issuer: ours, if we make any.
    :param others: further issuers.
    :raises InvalidInput: a key can't be read.
    """

    def __init__(self, service: str, issuer: Issuer | None, others: Iterable[settings.Issuer]) -> None:
        self._jwt = library()
        self._service = service
        self._issuer = issuer
        self._keys = {other.name: _Key(other.name, _public(Path(other.key)), other.algorithms) for other in others}
        if issuer is not None:
            self._keys[OUR_NAME] = issuer.key()

    def grant(self, token: str) -> TokenGrant:
        """The grant of a token.

        :raises Invalid: nothing.
        """
        try:
            issuer = self._jwt.decode(token, options={"verify_signature": False}).get("iss")
        except self._jwt.PyJWTError as error:
            raise Invalid(str(error)) from error
        key = self._keys.get(issuer) if isinstance(issuer, str) else None
        if key is None:
            raise Invalid("nobody who is known here issued it")
        claims = _decode(self._jwt, token, key, self._service)
        if claims.get("refresh"):
            raise Invalid("a refresh token is no access token")
        if self._issuer is not None and issuer == OUR_NAME:
            self._issuer.require_current(claims)
        name = claims.get("sub")
        return TokenGrant(Identity(name) if isinstance(name, str) and name else ANONYMOUS, _access(claims))


def _decode(jwt: Any, token: str, key: _Key, service: str) -> dict[str, Any]:
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key.key,
            algorithms=list(key.algorithms),
            audience=service,
            issuer=key.issuer,
            leeway=_LEEWAY,
            options={"require": ["exp", "iss", "aud"]},
        )
    except jwt.PyJWTError as error:
        raise Invalid(str(error)) from error
    return claims


def _access(claims: dict[str, Any]) -> dict[tuple[str, str], frozenset[str]]:
    """The claim ``access``; entries that are not of its shape allow nothing."""
    access: dict[tuple[str, str], frozenset[str]] = {}
    listed = claims.get("access")
    for entry in listed if isinstance(listed, list) else []:
        if not isinstance(entry, dict) or not isinstance(entry.get("actions"), list):
            continue
        named = (str(entry.get("type")), str(entry.get("name")))
        access[named] = access.get(named, frozenset()) | {str(action) for action in entry["actions"]}
    return access


def _read_key(data: bytes) -> tuple[Any, str, Any]:
    """A key to sign with, its algorithm, and the key to verify with."""
    if b"-----BEGIN" not in data:
        if len(data) < 32:
            raise InvalidInput("the secret that signs tokens has less than 32 bytes")
        return data, "HS256", data
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - as PyJWT
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa  # noqa: PLC0415 - as PyJWT

    try:
        key = serialization.load_pem_private_key(data, None)
    except (ValueError, TypeError) as error:
        raise InvalidInput("the key that signs tokens can't be read", cause=str(error)) from error
    for kind, algorithm in (
        (rsa.RSAPrivateKey, "RS256"),
        (ec.EllipticCurvePrivateKey, "ES256"),
        (ed25519.Ed25519PrivateKey, "EdDSA"),
    ):
        if isinstance(key, kind):
            return key, algorithm, key.public_key()
    raise InvalidInput("the key that signs tokens is of a kind that is not supported")


def _public(path: Path) -> Any:
    """A public key, alone or in a certificate."""
    from cryptography import x509  # noqa: PLC0415 - as PyJWT
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - as PyJWT

    try:
        data = path.read_bytes()
        if b"BEGIN CERTIFICATE" in data:
            return x509.load_pem_x509_certificate(data).public_key()
        return serialization.load_pem_public_key(data)
    except (OSError, ValueError) as error:
        raise InvalidInput(f"cannot use the key '{path}'", cause=str(error)) from error
