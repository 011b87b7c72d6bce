"""Callers, requested access and grants, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

__all__ = ["ANONYMOUS", "NOTHING", "Everything", "Grant", "Identity", "Want", "scopes"]


@dataclass(frozen=True, slots=True)
class Identity:
    """An authenticated or anonymous caller.

    :ivar name: empty for nobody in particular.
    """

    name: str = ""

    @property
    def known(self) -> bool:
        """Whether the caller is authenticated."""
        return bool(self.name)


ANONYMOUS: Final = Identity()


class Want(NamedTuple):
    """A requested access: ``repository:team/app:pull,push``."""

    type: str  #: "repository", or "registry" for the catalogue
    name: str
    actions: frozenset[str]


class Grant(Protocol):
    """The contract of a grant: an identity and its rights."""

    @property
    def identity(self) -> Identity:
        """The caller."""
        ...

    @property
    def proven(self) -> bool:
        """Whether the authentication that the registry requires has succeeded."""
        ...

    def allows(self, want: Want) -> bool:
        """Whether they may do all of this."""
        ...


class Everything:
    """The grant of a registry without authentication."""

    identity = ANONYMOUS
    proven = True

    def allows(self, want: Want) -> bool:
        """Yes."""
        return True


class Nothing:
    """May do nothing, yet."""

    identity = ANONYMOUS
    proven = False

    def allows(self, want: Want) -> bool:
        """No."""
        return False


NOTHING: Final[Grant] = Nothing()


def scopes(text: str) -> list[Want]:
    """Parse scopes, separated by spaces; invalid ones are ignored.

    A name may hold a colon (``host:5000/app``), so it is what is between the first and the last one.
    """
    wants = []
    for scope in text.split():
        type_, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        if name and actions:
            wants.append(Want(type_.partition("(")[0], name, frozenset(actions.split(","))))
    return wants
