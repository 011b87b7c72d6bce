"""Variables of a stage: what ENV and ARG have set, for expansion and for the steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from wherry.build.front.budget import Budget

__all__ = ["Environment"]


class Environment(Mapping[str, str]):
    """Variables in the order in which they were set first."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._lines: dict[str, str] = {}  # the values are in there, and nowhere else

    def copied(self) -> Environment:
        """One that can be changed by itself.

        :raises TooLarge: of the budget.
        """
        self._budget.spend(0, len(self._lines))
        other = Environment(self._budget)
        other._lines = dict(self._lines)
        return other

    def set(self, name: str, value: str) -> str:
        """Set a variable; returns ``NAME=value``.

        :raises TooLarge: of the budget.
        """
        self._budget.spend(len(name) + len(value), 1)
        line = self._lines[name] = f"{name}={value}"
        return line

    def lines(self) -> tuple[str, ...]:
        """``NAME=value``, for a step.

        :raises TooLarge: of the budget.
        """
        lines = tuple(self._lines.values())
        self._budget.spend(sum(map(len, lines)), len(lines))
        return lines

    def __getitem__(self, name: str) -> str:
        return self._lines[name][len(name) + 1 :]

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)
