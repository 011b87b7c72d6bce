"""Image references as people write them, and in full.

``busybox`` means ``docker.io/library/busybox:latest``; what is printed is the short, *familiar* form again. The
grammar is the distribution project's; the errors have Docker's words, since clients show them as they are.

The functions take references apart without validation, for the command line: the daemon reports what is wrong. This
module imports nothing that the command line does without.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re

    from wherry.errors import InvalidInput
    from wherry.oci.digest import Digest

__all__ = ["INVALID_FORMAT", "Reference", "familiar", "full_name", "repository_and_tag", "split"]

INVALID_FORMAT = "invalid reference format"

_DEFAULT_DOMAIN = "docker.io"
_LEGACY_DOMAIN = "index.docker.io"
_OFFICIAL = "library/"
_DEFAULT_TAG = "latest"
_MAX_NAME = 255

_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[(?:[a-fA-F0-9:]+)\])(?::[0-9]+)?"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"
_REFERENCE = (
    rf"(?P<domain>{_DOMAIN})/(?P<path>{_COMPONENT}(?:/{_COMPONENT})*)(?::(?P<tag>{_TAG}))?(?:@(?P<digest>{_DIGEST}))?"
)
_ID_LENGTH = 64
_HEXADECIMAL = frozenset("0123456789abcdef")


_compiled: list[re.Pattern[str]] = []


def _grammar() -> re.Pattern[str]:
    if not _compiled:
        import re  # noqa: PLC0415 - the command line does without

        _compiled.append(re.compile(_REFERENCE, re.ASCII))
    return _compiled[0]


class Reference:
    """The full name of an image: domain, path, and a tag, a digest, both or neither. Immutable."""

    __slots__ = ("_parts",)

    _parts: tuple[str, str, str | None, Digest | None]

    def __init__(self, domain: str, path: str, tag: str | None = None, digest: Digest | None = None) -> None:
        self._parts = (domain, path, tag, digest)

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a reference as a Docker user writes it.

        :raises InvalidInput: ``invalid reference format`` and its variants, exactly as Docker words them.
        """
        if len(text) == _ID_LENGTH and _HEXADECIMAL.issuperset(text):
            raise _invalid(f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")
        domain, rest = _split_domain(text)
        remote = rest.partition(":")[0]
        if remote != remote.lower():
            raise _invalid(f"{INVALID_FORMAT}: repository name ({remote}) must be lowercase")
        match = _grammar().fullmatch(f"{domain}/{rest}")
        if match is None:
            raise _invalid(INVALID_FORMAT)
        if len(match["domain"]) + 1 + len(match["path"]) > _MAX_NAME:
            raise _invalid(f"repository name must not be more than {_MAX_NAME} characters")
        digest = _digest(match["digest"]) if match["digest"] else None
        return cls(match["domain"], match["path"], match["tag"], digest)

    @property
    def domain(self) -> str:
        """Where the registry is: ``docker.io``, ``localhost:5000``."""
        return self._parts[0]

    @property
    def path(self) -> str:
        """The repository within the registry: ``library/busybox``."""
        return self._parts[1]

    @property
    def tag(self) -> str | None:
        """``latest``; None without one."""
        return self._parts[2]

    @property
    def digest(self) -> Digest | None:
        """The digest of a manifest or an index; None without one."""
        return self._parts[3]

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
        return self if self.tag or self.digest else Reference(self.domain, self.path, _DEFAULT_TAG)

    def with_digest(self, digest: Digest) -> Reference:
        """The repository at `digest`, without a tag: what Docker calls a repo digest."""
        return Reference(self.domain, self.path, None, digest)

    def with_tag_or_digest(self, text: str) -> Reference:
        """The same with another tag, or at a digest: what API calls say in a parameter of its own overrules the name.

        :raises InvalidInput: it is neither.
        """
        if not text:
            return self
        if ":" in text:
            return self.with_digest(_digest(text))
        return Reference(self.domain, self.path, Reference.parse(f"{self.name}:{text}").tag, self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reference) and self._parts == other._parts

    def __hash__(self) -> int:
        return hash(self._parts)

    def __repr__(self) -> str:
        return f"Reference({str(self)!r})"

    def __reduce__(self) -> tuple[type[Reference], tuple[str, str, str | None, Digest | None]]:
        return Reference, self._parts

    def __str__(self) -> str:
        return self.name + self._suffix()

    def _suffix(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return tag + (f"@{self.digest}" if self.digest else "")


def _digest(text: str) -> Digest:
    from wherry.oci.digest import Digest  # noqa: PLC0415 - the command line does without

    return Digest(text)


def _invalid(sentence: str) -> InvalidInput:
    from wherry.errors import InvalidInput  # noqa: PLC0415 - the command line does without

    return InvalidInput(sentence)


def split(text: str) -> tuple[str, str, str]:
    """Split a reference into repository, tag and digest; absent parts are empty."""
    name, _, digest = text.partition("@")
    head, colon, tag = name.rpartition(":")
    if colon and "/" not in tag:
        return head, tag, digest
    return name, "", digest


def full_name(text: str) -> str:
    """The repository with its registry, without tag: ``docker.io/library/busybox``."""
    return "/".join(_split_domain(split(text)[0]))


def repository_and_tag(text: str) -> tuple[str, str]:
    """The full repository, and the tag or digest to pull; ``latest`` by default."""
    _, tag, digest = split(text)
    return full_name(text), digest or tag or _DEFAULT_TAG


def familiar(text: str) -> str:
    """The familiar form that Docker shows: without the default registry, with a tag."""
    name = full_name(text).removeprefix(f"{_DEFAULT_DOMAIN}/").removeprefix(_OFFICIAL)
    _, tag, digest = split(text)
    if digest:
        return f"{name}:{tag}@{digest}" if tag else f"{name}@{digest}"
    return f"{name}:{tag or _DEFAULT_TAG}"


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
