"""Authorisation by the rules in the settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from wherry.registry.server.identity import Identity, Want
from wherry.registry.server.quota import pattern

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable

    from wherry.registry.server.settings import Rule

__all__ = ["RuleGrant", "Rules"]

_ALL: Final = frozenset(("pull", "push", "delete", "catalog"))


@dataclass(frozen=True, slots=True)
class _Line:
    user: str
    repositories: re.Pattern[str]
    actions: frozenset[str]

    def fits(self, who: Identity) -> bool:
        """Whether the rule applies to an identity; rules for everybody include logged-in users."""
        return self.user == "anonymous" or (who.known and self.user in ("*", who.name))


class Rules:
    """All rules; an action is allowed if any rule allows it.

    :param rules: none means that everybody who is logged in may do everything.
    :param anonymous_read: everybody may pull everything.
    """

    def __init__(self, rules: Iterable[Rule], *, anonymous_read: bool) -> None:
        self._lines = [
            _Line(rule.user, pattern(rule.repositories), _ALL if "*" in rule.actions else frozenset(rule.actions))
            for rule in rules
        ]
        if not self._lines:
            self._lines.append(_Line("*", pattern("*"), _ALL))
        if anonymous_read:
            self._lines.append(_Line("anonymous", pattern("*"), frozenset(("pull",))))

    def actions(self, who: Identity, want: Want) -> frozenset[str]:
        """What somebody may do with what they want to do something with; the catalogue is a right without a name."""
        if want.type == "registry":
            may = any(line.fits(who) and "catalog" in line.actions for line in self._lines)
            return want.actions if may and want.name == "catalog" else frozenset()
        if want.type != "repository":
            return frozenset()
        fitting = (line.actions for line in self._lines if line.fits(who) and line.repositories.fullmatch(want.name))
        return frozenset().union(*fitting)


@dataclass(frozen=True, slots=True)
class RuleGrant:
    """A grant by rules; see `wherry.registry.server.identity.Grant`."""

    identity: Identity
    rules: Rules

    @property
    def proven(self) -> bool:
        """Whether they gave a password."""
        return self.identity.known

    def allows(self, want: Want) -> bool:
        """Whether they may do all of it."""
        return want.actions <= self.rules.actions(self.identity, want)
