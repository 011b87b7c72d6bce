"""The steps of a trace, as values, and the rules of the firewall by their names."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from wherry.network.firewall.tables import bridge_table, inet_table

__all__ = ["HOST", "OUTSIDE", "Step", "Trace", "rule_named"]

HOST: Final = "host"
"""The name of the host itself, as a source or target."""
OUTSIDE: Final = "outside"
"""The name of everything else, as a source or target: another machine, the Internet."""


class Step(Struct, frozen=True):
    """One thing on the way.

    :ivar what: ``name``, ``container``, ``route``, ``rule``, ``address``, ``port`` or ``host``.
    """

    passes: bool
    what: str
    why: str


class Trace(Struct, frozen=True):
    """The answer.

    :ivar because: what stopped it, or how it went, in a sentence.
    :ivar hint: what would work instead; may be empty.
    """

    source: str
    target: str
    reaches: bool
    because: str
    steps: tuple[Step, ...]
    hint: str = ""


def rule_named(chain: str, why: str, *, family: str = "inet") -> str:
    """Say which rule it is, in the words of ``nft list ruleset``.

    :raises LookupError: there is no such rule; a test keeps this page and the tables together.
    """
    table = (inet_table if family == "inet" else bridge_table)("wherry")
    for each in table.chains:
        for rule in each.rules:
            if (each.name, rule.why) == (chain, why):
                return f"table {family}, chain {chain}: {rule.describe()}"
    raise LookupError(f"no rule {why!r} in chain {chain!r}")
