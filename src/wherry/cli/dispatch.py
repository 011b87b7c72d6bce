"""Find and run the verb of a command line, and turn its errors into a message and an exit code."""

from __future__ import annotations

from wherry.cli.console import write, write_error, write_error_page, write_page, write_raw
from wherry.cli.flags.parser import UsageError, parse
from wherry.cli.verbs import ABSENT, BUILD_VERBS, GLOBAL_FLAGS, GROUPS, HINT, VERBS, load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherry.cli.flags.parser import Command, Flag, Options


__all__ = ["dispatch"]

UNKNOWN_FLAG = "unknown flag: --"
LOG_LEVELS = ("debug", "info", "warn", "error", "fatal")


def dispatch(words: list[str]) -> int:
    """Run a command line. :returns: the exit code."""
    try:
        options, rest = parse(GLOBAL_FLAGS, words, interspersed=False)
    except UsageError as error:
        return _global_usage_error(str(error))
    wrong = _apply_globals(options)
    if wrong:
        return _global_usage_error(wrong)
    if options["version"]:
        return _version()
    if options["help"] or not rest or rest[0] == "help":
        return _help(rest[1:])
    return _dispatch_verb(rest, options)


def _apply_globals(options: Options) -> str:
    """Put ``--log-level`` and ``--config`` in force. :returns: what is wrong with them."""
    if options["log-level"] not in LOG_LEVELS:
        return f"unable to parse logging level: {options['log-level']}"
    options["debug"] = options["debug"] or options["log-level"] == "debug"
    if options["config"]:
        import os

        os.environ["DOCKER_CONFIG"] = os.path.abspath(options["config"])  # programs that wherry starts look there, too
    return ""


def _dispatch_verb(rest: list[str], options: Options) -> int:
    if rest[0] in GROUPS:
        return _group(rest, options)
    if rest[0] == "__complete":
        return _complete(rest[1:], options)
    if rest[0] not in VERBS:
        return _unknown_command(rest[0])
    if rest[0] == "build" and len(rest) > 1 and rest[1] in BUILD_VERBS and not _is_context(rest[1]):
        return execute(f"wherry build {rest[1]}", BUILD_VERBS[rest[1]], rest[2:], options)
    return execute(f"wherry {rest[0]}", VERBS[rest[0]], rest[1:], options)


def _is_context(word: str) -> bool:
    """Whether a word behind ``build`` that is a verb is a directory with a Dockerfile, which docker would build."""
    import os

    return any(os.path.lexists(f"{word}/{name}") for name in ("Dockerfile", "dockerfile"))


def _group(rest: list[str], options: Options) -> int:
    group = rest[0]
    if len(rest) > 1 and rest[1] in GROUPS[group]:
        return execute(f"wherry {group} {rest[1]}", GROUPS[group][rest[1]], rest[2:], options)
    if len(rest) > 1 and not rest[1].startswith("-"):
        return _unknown_verb(group, rest[1])
    if len(rest) == 1:
        from wherry.cli.help import overview

        write_error_page(overview(group))
        return 0
    try:
        parse((), rest[1:], interspersed=False)
    except UsageError as error:
        if str(error):
            write_error("{}\n\nUsage:  wherry {}\n\n{}\n", str(error), group, HINT.format(f"wherry {group}"))
            return 125
    return _help([group])


def _unknown_verb(group: str, word: str) -> int:
    from wherry.cli.help import did_you_mean

    path = f"wherry {group}"
    write_error("wherry: unknown command: {} {}\n", path, word)
    write_error_page(f"{did_you_mean(word, GROUPS[group])}\nUsage:  {path}\n\n{HINT.format(path)}\n")
    return 1


def _complete(words: list[str], options: Options) -> int:
    """Print completion candidates; errors are silent, since a message would disturb the prompt."""
    from wherry.cli.completion import candidates
    from wherry.cli.context import Context
    from wherry.errors import WherryError

    try:
        found = candidates(words, Context(options, start=False))
    except (WherryError, OSError):
        return 1
    write_raw("".join(f"{name}\n" for name in found))
    return 0


def _unknown_command(word: str) -> int:
    from wherry.cli.help import did_you_mean

    if word in ABSENT:
        write_error("wherry: there is no 'wherry {}': {}\n", word, ABSENT[word])
        return 1
    write_error("wherry: unknown command: wherry {}\n", word)
    write_error_page(f"{did_you_mean(word, [*VERBS, *GROUPS])}\n{HINT.format('wherry')}\n")
    return 1


def _version() -> int:
    from wherry import __version__

    write("wherry version {}\n", __version__)
    return 0


def _help(words: list[str]) -> int:
    if len(words) > 1 and words[0] in GROUPS and words[1] in GROUPS[words[0]]:
        return execute(f"wherry {words[0]} {words[1]}", GROUPS[words[0]][words[1]], ["--help"], None)
    if words[:1] == ["build"] and words[1:2] and words[1] in BUILD_VERBS:
        return execute(f"wherry build {words[1]}", BUILD_VERBS[words[1]], ["--help"], None)
    if words and words[0] in VERBS:
        return execute(f"wherry {words[0]}", VERBS[words[0]], ["--help"], None)
    from wherry.cli.help import overview

    write_page(overview(words[0] if words and words[0] in GROUPS else ""))
    return 0


def _global_usage_error(message: str) -> int:
    _write_usage_error("wherry", "[OPTIONS] COMMAND [ARG...]", GLOBAL_FLAGS, message)
    return 125


def _write_usage_error(path: str, usage: str, flags: Sequence[Flag], message: str) -> None:
    write_error("{}\n", message)
    if message.startswith(UNKNOWN_FLAG):
        from wherry.cli.help import did_you_mean

        names = [flag.name for flag in flags if not flag.hidden]
        write_error_page(did_you_mean(message.removeprefix(UNKNOWN_FLAG), names, "--"))
    write_error_page(f"\nUsage:  {path} {usage}\n\n{HINT.format(path)}\n")


def execute(path: str, module: str, words: list[str], options: Options | None) -> int:
    """Run a verb.

    :param path: what was typed, ``"wherry container run"``.
    :param module: its module in ``wherry.cli.commands``.
    :param words: the words after the verb.
    :param options: the global flags.
    """
    verb = load(module)
    command = verb.COMMAND
    try:
        ours = [] if command.passes_on else words
        given, arguments = parse(command.flags, ours, interspersed=command.interspersed)
    except UsageError as error:
        return _usage_error(path, command, str(error))
    arguments = words if command.passes_on else arguments
    wrong = _argument_error(path, command, len(arguments))
    if wrong:
        write_error("wherry: {}\n\nUsage:  {} {}\n\n{}\n", wrong, path, command.usage, HINT.format(path))
        return 1
    from wherry.cli.context import Context

    context = Context(options)
    try:
        return verb.run(context, given, arguments)
    except Exception as error:
        from wherry.cli.errors import report

        return report(error, path, command, debug=bool(options and options["debug"]))


def _usage_error(path: str, command: Command, message: str) -> int:
    if not message:
        from wherry.cli.help import help_text

        write_page(help_text(path, command))
        return 0
    _write_usage_error(path, command.usage, command.flags, message)
    return 125


def _argument_error(path: str, command: Command, number: int) -> str:
    """Docker's message for a wrong number of arguments; empty when it is right."""
    min_args, max_args = command.min_args, command.max_args
    plural = "" if min_args == 1 else "s"
    if max_args == 0 and number:
        return f"'{path}' accepts no arguments"
    if max_args == min_args and number != min_args:
        return f"'{path}' requires {min_args} argument{plural}"
    if number < min_args:
        return f"'{path}' requires at least {min_args} argument{plural}"
    if max_args is not None and number > max_args:
        return f"'{path}' requires at most {max_args} argument{'' if max_args == 1 else 's'}"
    return ""
