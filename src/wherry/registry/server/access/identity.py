"""Who asks, and what they want to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

__all__ = ["ANONYMOUS", "NOTHING", "Everything", "Grant", "Identity", "Want", "scopes"]


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody.

    :ivar name: empty for nobody in particular.
    """

    name: str = ""

    @property
    def known(self) -> bool:
        """Whether they proved who they are."""
        return bool(self.name)


ANONYMOUS: Final = Identity()


class Want(NamedTuple):
    """What somebody wants to do: ``repository:team/app:pull,push``."""

    type: str  #: "repository", or "registry" for the catalogue
    name: str
    actions: frozenset[str]


class Grant(Protocol):
    """Who asks, and what they may do."""

    @property
    def identity(self) -> Identity:
        """Who."""
        ...

    @property
    def proven(self) -> bool:
        """Whether they have done what is asked of everybody here."""
        ...

    def allows(self, want: Want) -> bool:
        """Whether they may do all of this."""
        ...


class Everything:
    """May do everything: nobody has to say who they are."""

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
    """Read a list of scopes, separated by spaces; what is none is passed over.

    A name may hold a colon (``host:5000/app``), so it is what is between the first and the last one.
    """
    wants = []
    for scope in text.split():
        type_, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        if name and actions:
            wants.append(Want(type_.partition("(")[0], name, frozenset(actions.split(","))))
    return wants
