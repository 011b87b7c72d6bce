"""Names of images as people write them, and as they are meant.

``busybox`` means ``docker.io/library/busybox:latest``; what is printed is the short, *familiar* form again. The
grammar is the distribution project's, the wording of the errors is Docker's, since clients show it as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from wherry.errors import InvalidInput
from wherry.oci.digest import Digest

__all__ = ["INVALID_FORMAT", "Reference"]

INVALID_FORMAT: Final = "invalid reference format"

_DEFAULT_DOMAIN: Final = "docker.io"
_LEGACY_DOMAIN: Final = "index.docker.io"
_OFFICIAL: Final = "library/"
_DEFAULT_TAG: Final = "latest"
_MAX_NAME: Final = 255

_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[(?:[a-fA-F0-9:]+)\])(?::[0-9]+)?"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"
_REFERENCE: Final = re.compile(
    rf"(?P<domain>{_DOMAIN})/(?P<path>{_COMPONENT}(?:/{_COMPONENT})*)(?::(?P<tag>{_TAG}))?(?:@(?P<digest>{_DIGEST}))?",
    re.ASCII,
)
_IDENTIFIER: Final = re.compile(r"[a-f0-9]{64}")


@dataclass(frozen=True, slots=True)
class Reference:
    """The full name of an image: domain, path, and a tag, a digest, both or neither."""

    domain: str
    path: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a reference as a Docker user writes it.

        :raises InvalidInput: ``invalid reference format`` and its variants, exactly as Docker words them.
        """
        if _IDENTIFIER.fullmatch(text):
            raise InvalidInput(f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")
        domain, rest = _split_domain(text)
        remote = rest.partition(":")[0]
        if remote != remote.lower():
            raise InvalidInput(f"{INVALID_FORMAT}: repository name ({remote}) must be lowercase")
        match = _REFERENCE.fullmatch(f"{domain}/{rest}")
        if match is None:
            raise InvalidInput(INVALID_FORMAT)
        if len(match["domain"]) + 1 + len(match["path"]) > _MAX_NAME:
            raise InvalidInput(f"repository name must not be more than {_MAX_NAME} characters")
        digest = Digest(match["digest"]) if match["digest"] else None
        return cls(match["domain"], match["path"], match["tag"], digest)

    @property
    def name(self) -> str:
        """The repository, without tag and digest: ``docker.io/library/busybox``."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_name(self) -> str:
        """The repository as people write it: ``busybox``."""
        if self.domain != _DEFAULT_DOMAIN:
            return self.name
        rest = self.path.removeprefix(_OFFICIAL)
        return self.path if "/" in rest else rest

    @property
    def familiar(self) -> str:
        """The whole reference as people write it: ``busybox:latest``."""
        return self.familiar_name + self._suffix()

    def with_default_tag(self) -> Reference:
        """The same, with the tag ``latest`` where it has neither tag nor digest."""
        return self if self.tag or self.digest else replace(self, tag=_DEFAULT_TAG)

    def with_digest(self, digest: Digest) -> Reference:
        """The repository at `digest`, without a tag: what Docker calls a repo digest."""
        return Reference(self.domain, self.path, None, digest)

    def __str__(self) -> str:
        return self.name + self._suffix()

    def _suffix(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return tag + (f"@{self.digest}" if self.digest else "")


def _split_domain(text: str) -> tuple[str, str]:
    """Part the domain from the rest; a first part without dot, colon or capital letter belongs to the path."""
    first, slash, rest = text.partition("/")
    is_domain = bool(slash) and ("." in first or ":" in first or first == "localhost" or first.lower() != first)
    domain, rest = (first, rest) if is_domain else (_DEFAULT_DOMAIN, text)
    if domain == _LEGACY_DOMAIN:
        domain = _DEFAULT_DOMAIN
    if domain == _DEFAULT_DOMAIN and "/" not in rest:
        rest = _OFFICIAL + rest
    return domain, rest
