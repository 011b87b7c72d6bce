"""Help texts: of a verb, of a group of verbs, of ``wherry``."""

from __future__ import annotations

import os
import textwrap

from wherry.cli.flags.parser import Command, Flag
from wherry.cli.verbs import GLOBAL_FLAGS, GROUPS, VERBS, load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["did_you_mean", "help_text", "overview"]

_COMMON = ("run", "exec", "ps", "build", "images", "logs", "explain", "version", "info")
_GROUP_SUMMARIES = {
    "builder": "Manage builds",
    "container": "Manage containers",
    "context": "Manage contexts: daemons with a name",
    "image": "Manage images",
    "manifest": "Manage image manifests and manifest lists in registries",
    "network": "Manage networks",
    "registry": "Run a registry server",
    "system": "Manage the daemon and its data",
    "volume": "Manage volumes",
}


def _width() -> int:
    try:
        return max(60, os.get_terminal_size(1).columns)
    except OSError:
        return 80


def _default(flag: Flag) -> str:
    """The note on a flag's default, unless that is empty."""
    if flag.kind.multiple or flag.default in (None, "", 0, False):
        return ""
    if isinstance(flag.default, bool):
        return " (default true)"
    return f' (default "{flag.default}")' if isinstance(flag.default, str) else f" (default {flag.default})"


def _options(flags: tuple[Flag, ...] | list[Flag]) -> str:
    """The table of flags, with their help wrapped beside them."""
    shown = [flag for flag in flags if not flag.hidden]
    names = [f"{f'-{flag.short},' if flag.short else '   '} --{flag.name} {flag.kind.name}".rstrip() for flag in shown]
    left = max((len(name) for name in names), default=0)
    lines = []
    for flag, name in zip(shown, names, strict=True):
        text = textwrap.wrap(flag.help + _default(flag), max(24, _width() - left - 6)) or [""]
        lines.append(f"  {name.ljust(left)}   {text[0]}")
        lines += [" " * (left + 5) + line for line in text[1:]]
    return "\n".join(lines) + "\n"


def help_text(path: str, command: Command) -> str:
    """The help of one verb."""
    parts = [f"Usage:  {path} {command.usage}".rstrip() + "\n", f"\n{command.summary}\n"]
    if command.aliases:
        parts.append(f"\nAliases:\n  {command.aliases}\n")
    if command.flags:
        parts.append("\nOptions:\n" + _options(list(command.flags)))
    return "".join(parts)


def _listing(verbs: dict[str, str]) -> str:
    width = max(len(verb) for verb in verbs)
    return "".join(f"  {verb.ljust(width)}   {text}\n" for verb, text in verbs.items())


def _summaries(modules: dict[str, str]) -> dict[str, str]:
    result: dict[str, str] = {}
    seen: set[str] = set()
    for verb, module in modules.items():
        if module in seen:
            continue  # an alias
        seen.add(module)
        result[verb] = load(module).COMMAND.summary
    return dict(sorted(result.items()))


def overview(group: str = "") -> str:
    """The help of a group of verbs, or of ``wherry`` itself."""
    if group:
        verbs = _preferred(GROUPS[group])
        return (
            f"Usage:  wherry {group} COMMAND\n\n{_GROUP_SUMMARIES[group]}\n\nCommands:\n{_listing(_summaries(verbs))}"
            f"\nRun 'wherry {group} COMMAND --help' for more about a command.\n"
        )
    summaries = _summaries(VERBS)
    common = {verb: summaries.pop(verb) for verb in _COMMON}
    return (
        "Usage:  wherry [OPTIONS] COMMAND\n\nA container engine: isolated programs with a filesystem of their own\n"
        f"\nCommon commands:\n{_listing(common)}\nManagement commands:\n{_listing(_GROUP_SUMMARIES)}"
        f"\nCommands:\n{_listing(summaries)}\nGlobal options:\n{_options(list(GLOBAL_FLAGS))}"
        "\nThe daemon's address is also taken from WHERRY_HOST, DOCKER_HOST, DOCKER_CONTEXT and 'wherry context use'.\n"
        "Run 'wherry COMMAND --help' for more about a command.\n"
    )


def _preferred(modules: dict[str, str]) -> dict[str, str]:
    """Sort ``ls`` and ``rm`` before their aliases, so that these names are shown."""
    return dict(sorted(modules.items(), key=lambda item: (item[0] in ("list", "remove", "ps"), item[0])))


def did_you_mean(word: str, names: Iterable[str], prefix: str = "") -> str:
    """A line with the names that look like a word that is none; empty when none does."""
    import difflib

    found = difflib.get_close_matches(word, sorted(set(names)), n=3)
    return f"Did you mean {' or '.join(repr(prefix + name) for name in found)}?\n" if found else ""
