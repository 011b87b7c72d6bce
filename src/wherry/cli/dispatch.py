"""From the words on the command line to a verb's module, and from an exception to a sentence and an exit code."""

from __future__ import annotations

import sys

from wherry.cli.flags import BOOL, LIST, STRING, Flag, UsageError, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from wherry.cli.context import Context
    from wherry.cli.flags import Command, Options

    class Verb(Protocol):
        """A module in ``wherry.cli.commands``."""

        COMMAND: Command

        def run(self, context: Context, options: Options, arguments: list[str]) -> int: ...


__all__ = ["GLOBAL_FLAGS", "GROUPS", "HINT", "VERBS", "dispatch", "load"]

HINT = "See '{} --help'."

GLOBAL_FLAGS = (
    Flag("debug", "D", BOOL, "Show where an error comes from"),
    Flag("help", "", BOOL, "Show this help"),
    Flag("host", "H", LIST, "Daemon to talk to: unix:///path or tcp://host:port"),
    Flag("tls", "", BOOL, "Encrypt, and trust any daemon"),
    Flag("tlscacert", "", STRING, "Trust daemons whose certificate this authority signed"),
    Flag("tlscert", "", STRING, "Our certificate"),
    Flag("tlskey", "", STRING, "Our private key"),
    Flag("tlsverify", "", BOOL, "Encrypt, and verify the daemon"),
    Flag("version", "v", BOOL, "Show the version and leave"),
)

_CONTAINER = (
    "attach commit create diff exec explain export inspect kill logs pause port prune rename restart rm run start "
    "stats stop top unpause update wait"
)

# What is typed -> the module that does it.
VERBS: dict[str, str] = {
    **{verb: verb for verb in _CONTAINER.split() if verb != "prune"},
    "completion": "completion",
    "events": "events",
    "history": "history",
    "images": "images",
    "import": "import_",
    "info": "info",
    "load": "load",
    "login": "login",
    "logout": "logout",
    "ps": "ps",
    "pull": "pull",
    "push": "push",
    "rmi": "rmi",
    "save": "save",
    "search": "search",
    "tag": "tag",
    "version": "version",
}

GROUPS: dict[str, dict[str, str]] = {
    "container": {
        **{verb: verb for verb in _CONTAINER.split()},
        "inspect": "container_inspect",
        "list": "ps",
        "ls": "ps",
        "prune": "container_prune",
        "ps": "ps",
        "remove": "rm",
    },
    "image": {
        "bootstrap": "image_bootstrap",
        "diff": "image_diff",
        "history": "history",
        "import": "import_",
        "inspect": "image_inspect",
        "layers": "image_layers",
        "list": "images",
        "load": "load",
        "ls": "images",
        "prune": "image_prune",
        "pull": "pull",
        "push": "push",
        "remove": "rmi",
        "rm": "rmi",
        "save": "save",
        "tag": "tag",
        "tree": "image_tree",
    },
    "manifest": {
        "inspect": "manifest_inspect",
    },
    "network": {
        "connect": "network_connect",
        "create": "network_create",
        "disconnect": "network_disconnect",
        "inspect": "network_inspect",
        "list": "network_ls",
        "ls": "network_ls",
        "prune": "network_prune",
        "remove": "network_rm",
        "rm": "network_rm",
        "trace": "network_trace",
    },
    "registry": {
        "check": "registry_check",
        "gc": "registry_gc",
        "serve": "registry_serve",
    },
    "system": {
        "df": "system_df",
        "events": "events",
        "fsck": "system_fsck",
        "info": "info",
        "prune": "system_prune",
        "shutdown": "system_shutdown",
    },
}


def load(module: str) -> Verb:
    """Import a verb's module."""
    name = f"wherry.cli.commands.{module}"
    __import__(name)
    verb: Verb = sys.modules[name]
    return verb


def dispatch(words: list[str]) -> int:
    """Run a command line. :returns: the exit code."""
    try:
        options, rest = parse(GLOBAL_FLAGS, words, passes_on=True)
    except UsageError as error:
        return _usage_of_wherry(str(error))
    if options["version"]:
        return _version()
    if options["help"] or not rest or rest[0] == "help":
        return _help(rest[1:])
    return _dispatch_verb(rest, options)


def _dispatch_verb(rest: list[str], options: Options) -> int:
    if rest[0] in GROUPS:
        return _group(rest, options)
    if rest[0] == "__complete":
        return _complete(rest[1:], options)
    if rest[0] not in VERBS:
        return _unknown(rest[0])
    return execute(f"wherry {rest[0]}", VERBS[rest[0]], rest[1:], options)


def _group(rest: list[str], options: Options) -> int:
    group = rest[0]
    if len(rest) > 1 and rest[1] in GROUPS[group]:
        return execute(f"wherry {group} {rest[1]}", GROUPS[group][rest[1]], rest[2:], options)
    if len(rest) > 1 and not rest[1].startswith("-"):
        hint = HINT.format(f"wherry {group}")
        sys.stderr.write(f"wherry: unknown command: wherry {group} {rest[1]}\n\nUsage:  wherry {group}\n\n{hint}\n")
        return 1
    if len(rest) == 1:
        from wherry.cli.usage import overview

        sys.stderr.write(overview(group))
        return 0
    return _help([group])


def _complete(words: list[str], options: Options) -> int:
    """Answer a shell's question; where there is nothing to say, no complaint may disturb the person's typing."""
    from wherry.cli.completion import candidates
    from wherry.cli.context import Context
    from wherry.errors import WherryError

    try:
        found = candidates(words, Context(options, start=False))
    except (WherryError, OSError):
        return 1
    sys.stdout.write("".join(f"{name}\n" for name in found))
    return 0


def _unknown(word: str) -> int:
    sys.stderr.write(f"wherry: unknown command: wherry {word}\n\n{HINT.format('wherry')}\n")
    return 1


def _version() -> int:
    from wherry import __version__

    sys.stdout.write(f"wherry version {__version__}\n")
    return 0


def _help(words: list[str]) -> int:
    if len(words) > 1 and words[0] in GROUPS and words[1] in GROUPS[words[0]]:
        return execute(f"wherry {words[0]} {words[1]}", GROUPS[words[0]][words[1]], ["--help"], None)
    if words and words[0] in VERBS:
        return execute(f"wherry {words[0]}", VERBS[words[0]], ["--help"], None)
    from wherry.cli.usage import overview

    sys.stdout.write(overview(words[0] if words and words[0] in GROUPS else ""))
    return 0


def _usage_of_wherry(message: str) -> int:
    sys.stderr.write(f"{message}\n\nUsage:  wherry [OPTIONS] COMMAND [ARG...]\n\n{HINT.format('wherry')}\n")
    return 125


def execute(path: str, module: str, words: list[str], options: Options | None) -> int:
    """Run a verb.

    :param path: what was typed, ``"wherry container run"``.
    :param module: its module in ``wherry.cli.commands``.
    :param words: what follows the verb.
    :param options: the global flags.
    """
    verb = load(module)
    command = verb.COMMAND
    try:
        given, arguments = parse(command.flags, words, passes_on=command.passes_on)
    except UsageError as error:
        return _misused(path, command, str(error))
    wrong = _count(path, command, len(arguments))
    if wrong:
        sys.stderr.write(f"wherry: {wrong}\n\nUsage:  {path} {command.usage}\n\n{HINT.format(path)}\n")
        return 1
    from wherry.cli.context import Context

    context = Context(options)
    try:
        return verb.run(context, given, arguments)
    except Exception as error:
        from wherry.cli.report import report

        return report(error, path, command, debug=bool(options and options["debug"]))


def _misused(path: str, command: Command, message: str) -> int:
    if not message:
        from wherry.cli.usage import help_text

        sys.stdout.write(help_text(path, command))
        return 0
    sys.stderr.write(f"{message}\n\nUsage:  {path} {command.usage}\n\n{HINT.format(path)}\n")
    return 125


def _count(path: str, command: Command, number: int) -> str:
    """Tell what is wrong with the number of arguments, as Docker does."""
    least, most = command.least, command.most
    plural = "" if least == 1 else "s"
    if most == 0 and number:
        return f"'{path}' accepts no arguments"
    if most == least and number != least:
        return f"'{path}' requires {least} argument{plural}"
    if number < least:
        return f"'{path}' requires at least {least} argument{plural}"
    if most is not None and number > most:
        return f"'{path}' requires at most {most} argument{'' if most == 1 else 's'}"
    return ""
