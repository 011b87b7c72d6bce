"""A parser of flags as runc has them; it imports nothing, because every call of the command pays for it."""

from __future__ import annotations

from wherry.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["FALSE", "TRUE", "Flags", "parse"]

#: What Go reads as a truth value (strconv.ParseBool).
TRUE = {"1", "t", "T", "true", "TRUE", "True"}
FALSE = {"0", "f", "F", "false", "FALSE", "False"}


class Flags:
    """What was given, by the flags' long names."""

    def __init__(self, values: dict[str, list[str]]) -> None:
        self._values = values

    def text(self, name: str, default: str = "") -> str:
        """The last value of a flag."""
        return self._values.get(name, [default])[-1]

    def texts(self, name: str) -> list[str]:
        """All values of a flag that may be repeated."""
        return self._values.get(name, [])

    def has(self, name: str) -> bool:
        """Whether a flag was given at all."""
        return name in self._values

    def is_on(self, name: str) -> bool:
        """Whether a flag without a value is set."""
        return self.text(name, "false") == "true"

    def number(self, name: str, default: int = 0) -> int:
        """The value of a flag that takes a number.

        :raises InvalidInput: it is none.
        """
        text = self.text(name, str(default))
        try:
            return int(text)
        except ValueError:
            raise InvalidInput(f'invalid value "{text}" for flag -{name}: parse error') from None


def parse(
    arguments: Sequence[str], known: Mapping[str, bool], *, short: Mapping[str, str] = {}, mixed: bool = True
) -> tuple[Flags, list[str]]:
    """Part flags from arguments.

    :param known: the flags, and whether each takes a value.
    :param short: other names of flags.
    :param mixed: whether flags may come after the first argument, too.
    :raises InvalidInput: a flag is not known, or lacks its value.
    """
    values: dict[str, list[str]] = {}
    rest: list[str] = []
    ahead = list(arguments)
    while ahead:
        word = ahead.pop(0)
        if word == "--":
            return Flags(values), [*rest, *ahead]
        if len(word) < 2 or not word.startswith("-"):
            rest.append(word)
            if not mixed:
                return Flags(values), [*rest, *ahead]
            continue
        name, given, value = word.lstrip("-").partition("=")
        name = short.get(name, name)
        if name not in known:
            raise InvalidInput(f"flag provided but not defined: -{name}")
        if not known[name]:
            value = _truth(name, value) if given else "true"
        elif not given:
            if not ahead:
                raise InvalidInput(f"flag needs an argument: -{name}")
            value = ahead.pop(0)
        values.setdefault(name, []).append(value)
    return Flags(values), rest


def _truth(name: str, value: str) -> str:
    if value in TRUE | FALSE:
        return "true" if value in TRUE else "false"
    raise InvalidInput(f'invalid boolean value "{value}" for -{name}: parse error')
