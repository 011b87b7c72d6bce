"""A client's word on what its build may fetch, and what instead: BuildKit's source policies.

Rules are gone through in their order: the last one that fits and allows or denies decides; one that converts, and
changes something, begins everything again with the source that it gives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import Struct

from wherry.build.model.graph import SourceOp
from wherry.errors import Forbidden, InvalidInput, TooLarge
from wherry.oci.go_patterns import EXPRESSION_LIMIT, Expression

__all__ = ["Action", "Condition", "Constraint", "MatchType", "PolicyRule", "Selector", "SourcePolicy", "Update"]

_MOST_RULES: Final = 1000
_MOST_CONVERSIONS: Final = 20
_LONGEST: Final = 64 << 10
"""Bytes of an identifier."""
_LONGEST_TOGETHER: Final = 1 << 20
"""Bytes of all rules."""


class Action(StrEnum):
    """What a rule does with a source that its selector fits."""

    ALLOW = "ALLOW"
    DENY = "DENY"
    CONVERT = "CONVERT"


class MatchType(StrEnum):
    """What a selector's identifier is; in each case, the same text fits."""

    WILDCARD = "WILDCARD"
    EXACT = "EXACT"
    REGEX = "REGEX"


class Condition(StrEnum):
    """What has to be true of an attribute; one that is not there is empty."""

    EQUAL = "EQUAL"
    NOTEQUAL = "NOTEQUAL"
    MATCHES = "MATCHES"


class Constraint(Struct, frozen=True):
    """A condition on an attribute of the source (``http.checksum``)."""

    key: str = ""
    value: str = ""
    condition: Condition = Condition.EQUAL


class Selector(Struct, frozen=True):
    """Which sources: ``docker-image://docker.io/library/*``; all constraints have to hold."""

    identifier: str = ""
    match_type: MatchType = MatchType.WILDCARD
    constraints: tuple[Constraint, ...] = ()


class Update(Struct, frozen=True):
    """What a source is converted to; ``$1`` in the identifier is what the first ``*``, or group, has matched."""

    identifier: str = ""
    attrs: dict[str, str] = {}


class PolicyRule(Struct, frozen=True):
    """A rule."""

    selector: Selector
    action: Action = Action.ALLOW
    updates: Update | None = None


class _File(Struct):
    version: int = 0
    rules: tuple[PolicyRule, ...] = ()


class SourcePolicy:
    """The rules of one build.

    :raises InvalidInput: a pattern is none.
    :raises TooLarge: there are too many.
    """

    def __init__(self, rules: Sequence[PolicyRule] = ()) -> None:
        if len(rules) > _MOST_RULES:
            raise TooLarge(f"a source policy has {_MOST_RULES} rules at most")
        if len(msgspec.json.encode(rules)) > _LONGEST_TOGETHER:
            raise TooLarge(f"a source policy has {_LONGEST_TOGETHER} bytes at most")
        self._room = EXPRESSION_LIMIT
        self._rules = [_Compiled(rule, self._expression) for rule in rules]

    def __bool__(self) -> bool:
        return bool(self._rules)

    @classmethod
    def parse(cls, text: str | bytes) -> SourcePolicy:
        """Read a policy in JSON, as ``EXPERIMENTAL_BUILDKIT_SOURCE_POLICY`` names one.

        :raises InvalidInput: it is none.
        """
        try:
            return cls(msgspec.json.decode(text, type=_File).rules)
        except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
            raise InvalidInput("failed to parse the source policy", cause=str(exc)) from exc

    def applied(self, op: SourceOp) -> SourceOp:
        """What is fetched instead of a source; blocking for as long as the rules are many.

        :raises Forbidden: the policy denies it.
        :raises InvalidInput: a rule makes no sense, or they convert in a circle.
        """
        for _ in range(_MOST_CONVERSIONS + 1):
            converted = self._once(op)
            if converted is None:
                return op
            op = converted
        raise InvalidInput("too many mutations on a single source: too many operations")

    def _once(self, op: SourceOp) -> SourceOp | None:
        is_denied = False
        for rule in self._rules:
            if not rule.fits(op):
                continue
            if rule.action is Action.CONVERT:
                if (converted := rule.converted(op)) != op:
                    return converted
            else:
                is_denied = rule.action is Action.DENY
        if is_denied:
            raise Forbidden(f'source "{op.identifier}" denied by policy: source denied by policy')
        return None

    def _expression(self, text: str) -> Expression:
        """An expression of the client's; their length together decides what they cost."""
        self._room -= len(text)
        if self._room < 0:
            raise TooLarge(f"the regular expressions of a source policy have {EXPRESSION_LIMIT} bytes at most")
        return Expression(text, captures=True)


class _Compiled:
    """A rule with its patterns."""

    def __init__(self, rule: PolicyRule, expression: Callable[[str], Expression]) -> None:
        self.action = rule.action
        self._rule = rule
        self._pattern: Expression | None = None
        identifier = rule.selector.identifier
        if rule.selector.match_type is MatchType.REGEX:
            self._pattern = expression(identifier)
        elif rule.selector.match_type is MatchType.WILDCARD and "*" in identifier:
            if "**" in identifier:
                raise InvalidInput(f'failed to translate wildcard "{identifier}" to regexp: invalid wildcard: "**"')
            self._pattern = Expression(f"^{'(.*)'.join(map(_quoted, identifier.split('*')))}$", captures=True)
        self._constraints = [
            (one, expression(one.value) if one.condition is Condition.MATCHES else None)
            for one in rule.selector.constraints
        ]
        if rule.action is Action.CONVERT and rule.updates is None:
            raise InvalidInput("missing destination for convert rule")

    def fits(self, op: SourceOp) -> bool:
        """Whether the selector fits."""
        for constraint, pattern in self._constraints:
            value = op.attributes.get(constraint.key, "")
            if pattern is not None:
                if not pattern.found_in(value):
                    return False
            elif (value == constraint.value) is not (constraint.condition is Condition.EQUAL):
                return False
        if op.identifier == self._rule.selector.identifier:
            return True
        return self._pattern is not None and self._pattern.found_in(op.identifier)

    def converted(self, op: SourceOp) -> SourceOp:
        """What it becomes."""
        updates = self._rule.updates
        assert updates is not None, "it was looked at"
        identifier = updates.identifier or op.identifier  # BuildKit: a wildcard in its place, which nothing fetches
        if self._pattern is not None and updates.identifier:
            if self._pattern.found_in(op.identifier):
                identifier = self._pattern.replaced(op.identifier, identifier, longest=_LONGEST)
            else:  # it is the text of the pattern itself
                identifier = op.identifier
        return SourceOp(identifier or op.identifier, {**op.attributes, **updates.attrs})


def _quoted(text: str) -> str:
    """A text as an expression that matches nothing else."""
    return "".join(one if one.isalnum() or one in "/:-_ @" else f"\\x{{{ord(one):x}}}" for one in text)
