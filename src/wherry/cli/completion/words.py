"""Parse the words before the one to complete: flags with their values, and arguments."""

from __future__ import annotations

from wherry.cli.flags.parser import BOOL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wherry.cli.flags.parser import Flag

__all__ = ["PartialCommandLine", "parse_partial"]


class PartialCommandLine:
    """The command line up to the word to complete.

    :ivar arguments: the words that are neither flags nor their values.
    :ivar pending: the flag whose value is the next word.
    :ivar flags_ended: whether no flag can follow.
    """

    def __init__(self) -> None:
        self.arguments: list[str] = []
        self.pending: Flag | None = None
        self.flags_ended = False


def parse_partial(flags: Sequence[Flag], words: Sequence[str], *, interspersed: bool) -> PartialCommandLine:
    """Parse like :func:`wherry.cli.flags.parser.parse`, but ignore mistakes and do not read values.

    :param flags: the flags of the command.
    :param interspersed: False when the first argument ends the flags.
    """
    found = PartialCommandLine()
    for at, word in enumerate(words):
        if found.pending is not None:
            found.pending = None
        elif word == "--":
            found.arguments += words[at + 1 :]
            found.flags_ended = True
            break
        elif word.startswith("-") and len(word) > 1:
            found.pending = next(_awaiting_value(flags, word), None)
        else:
            found.arguments.append(word)
            if not interspersed:
                found.arguments += words[at + 1 :]
                found.flags_ended = True
                break
    return found


def _awaiting_value(flags: Sequence[Flag], word: str) -> Iterator[Flag]:
    """The flag in a word that takes the next word as its value, if any."""
    if word.startswith("--"):
        yield from (flag for flag in flags if f"--{flag.name}" == word and flag.kind is not BOOL)
        return
    shorts = {flag.short: flag for flag in flags if flag.short}
    for at, letter in enumerate(word[1:], 2):
        flag = shorts.get(letter)
        if flag is None or word[at : at + 1] == "=":
            return
        if flag.kind is not BOOL:
            if at == len(word):
                yield flag
            return
