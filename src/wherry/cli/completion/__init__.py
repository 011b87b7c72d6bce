"""Completion: the verbs, flags and values that fit at the place of the last word.

Nothing is offered that a shell or a terminal would take for more than a word: names are narrow, but a daemon may know
one that was made before they were.
"""

from __future__ import annotations

from wherry.cli.completion.words import PartialCommandLine, parse_partial
from wherry.cli.flags.parser import UsageError, parse
from wherry.cli.verbs import BUILD_VERBS, GLOBAL_FLAGS, GROUPS, VERBS, load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Flag

__all__ = ["candidates"]

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-/:@=,+")


def candidates(words: Sequence[str], context: Context) -> list[str]:
    """The candidates for the last word.

    :param words: the words after ``wherry``; the last one may be empty or incomplete.
    :raises wherry.errors.WherryError: the daemon's names are needed, and it refuses or does not answer.
    """
    *before, current = words or [""]
    before = before[1:] if before[:1] == ["help"] else before
    typed = parse_partial(GLOBAL_FLAGS, before, interspersed=False)
    if typed.pending or not typed.arguments:
        return _beginning(typed, current, context)
    context = _context(before, context)
    verb, *rest = typed.arguments
    if verb == "build" and rest and rest[0] in BUILD_VERBS:
        return _of_verb(BUILD_VERBS[rest[0]], rest[1:], current, context)
    if verb not in GROUPS:
        return _of_verb(VERBS[verb], rest, current, context) if verb in VERBS else []
    if not rest:
        return _matching(GROUPS[verb], current)
    module = GROUPS[verb].get(rest[0])
    return _of_verb(module, rest[1:], current, context) if module else []


def _beginning(typed: PartialCommandLine, current: str, context: Context) -> list[str]:
    if typed.pending:
        from wherry.cli.completion.values import flag_values

        return _matching(flag_values("", typed.pending.name, current, context), current)
    if current.startswith("-"):
        return _matching(_flag_names(GLOBAL_FLAGS), current)
    return _matching([*VERBS, *GROUPS, "help"], current)


def _context(before: list[str], context: Context) -> Context:
    """The context with the global flags of this command line."""
    from wherry.cli.context import Context

    try:
        options, _ = parse(GLOBAL_FLAGS, before, interspersed=False)
    except UsageError:
        return context
    return Context(options, start=False) if options.given else context


def _of_verb(module: str, before: list[str], current: str, context: Context) -> list[str]:
    from wherry.cli.completion.values import argument_values, flag_values

    command = load(module).COMMAND
    typed = parse_partial(command.flags, before, interspersed=command.interspersed)
    if typed.pending:
        return _matching(flag_values(module, typed.pending.name, current, context), current)
    if typed.flags_ended or not current.startswith("-"):
        return _matching(argument_values(module, typed.arguments, context), current)
    name, equals, value = current.removeprefix("--").partition("=")
    if not equals:
        return _matching([*_flag_names(command.flags), "--help"], current)
    return [f"--{name}={one}" for one in _matching(flag_values(module, name, value, context), value)]


def _flag_names(flags: Iterable[Flag]) -> list[str]:
    return [f"--{flag.name}" for flag in flags if not flag.hidden]


def _matching(names: Iterable[str], current: str) -> list[str]:
    wanted = {name for name in names if name.startswith(current) and _PLAIN.issuperset(name)}
    return sorted(name for name in wanted if current.startswith("-") or not name.startswith("-"))
