"""Variables of a stage: what ENV and ARG have set, for expansion and for the steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from wherry.build.front.budget import Budget

__all__ = ["Environment"]


class Environment(Mapping[str, str]):
    """Variables in the order in which they were set first."""

    def __init__(self, budget: Budget, values: dict[str, str] | None = None) -> None:
        self._budget = budget
        self._values = values if values is not None else {}
        self._lines: tuple[str, ...] | None = None

    def copied(self) -> Environment:
        """One that can be changed by itself.

        :raises TooLarge: of the budget.
        """
        self._budget.spend(0, len(self._values))
        return Environment(self._budget, dict(self._values))

    def set(self, name: str, value: str) -> None:
        """Set a variable.

        :raises TooLarge: of the budget.
        """
        self._budget.spend(len(name) + len(value), 1)
        self._values[name] = value
        self._lines = None

    def lines(self) -> tuple[str, ...]:
        """``NAME=value``, for a step.

        :raises TooLarge: of the budget.
        """
        if self._lines is None:
            self._lines = tuple(f"{name}={value}" for name, value in self._values.items())
        self._budget.spend(sum(map(len, self._lines)))
        return self._lines

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)
