"""What a shell may complete. The scripts ask ``wherry __complete WORDS...``, which prints one candidate a line.

bash and zsh call the command as it was typed: ``./wherry`` from a clone is not on the path.
"""

from __future__ import annotations

from wherry.cli.dispatch import GLOBAL_FLAGS, GROUPS, VERBS, load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from wherry.cli.context import Context
    from wherry.cli.flags import Flag

__all__ = ["SCRIPTS", "candidates"]

_BASH = """\
# bash completion for wherry; put it in force with: source <(wherry completion bash)
_wherry() {
    local IFS=$'\\n' found
    found=$("$1" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    COMPREPLY=($(compgen -W "$found" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _wherry wherry
"""
_ZSH = """\
#compdef wherry
# zsh completion for wherry; put it in force with: source <(wherry completion zsh)
_wherry() {
    local -a found
    found=("${(@f)$("${(Q)words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    compadd -a found || _files
}
compdef _wherry wherry
"""
_FISH = """\
# fish completion for wherry; put it in force with: wherry completion fish | source
complete -c wherry -a '(wherry __complete (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'
"""
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}

_RUNNING = ("attach", "exec", "kill", "pause", "restart", "stats", "stop", "top")
_ANY = ("diff", "explain", "export", "inspect", "logs", "port", "rename", "rm", "start", "unpause", "update", "wait")
_NETWORKS = ("network_connect", "network_disconnect", "network_inspect", "network_rm")
_IMAGES = ("create", "history", "image_diff", "image_inspect", "image_layers", "inspect", "rmi", "run", "save", "tag")


def candidates(words: Sequence[str], context: Context) -> list[str]:
    """What may stand in place of the last word.

    :param words: what was typed behind ``wherry``; the last word may be empty or unfinished.
    """
    *before, current = words or [""]
    path, module = _verb([word for word in before if not word.startswith("-")])
    if module is None:
        verbs: Iterable[str] = GROUPS[path[0]] if path else [*VERBS, *GROUPS]
        return _matching(_flag_names(GLOBAL_FLAGS) if current.startswith("-") and not path else verbs, current)
    if current.startswith("-"):
        return _matching([*_flag_names(load(module).COMMAND.flags), "--help"], current)
    if module == "completion":
        return _matching(SCRIPTS, current)
    return _matching(_names(module, context), current)


def _verb(words: Sequence[str]) -> tuple[list[str], str | None]:
    if not words:
        return [], None
    if words[0] in GROUPS:
        return [words[0]], GROUPS[words[0]].get(words[1]) if len(words) > 1 else None
    return [], VERBS.get(words[0])


def _flag_names(flags: Iterable[Flag]) -> list[str]:
    return [f"--{flag.name}" for flag in flags if not flag.hidden]


def _matching(names: Iterable[str], current: str) -> list[str]:
    return sorted({name for name in names if name.startswith(current)})


def _names(module: str, context: Context) -> list[str]:
    """Names of containers, images and networks, as far as a daemon answers."""
    names: list[str] = []
    if module in _RUNNING or module in _ANY or module == "container_inspect":
        found = context.client.containers.list(all=module not in _RUNNING)
        names += [name.removeprefix("/") for one in found for name in one["Names"]]
    if module in _IMAGES:
        names += [name for one in context.client.images.list() for name in one.get("RepoTags") or ()]
    if module in _NETWORKS:
        names += [one["Name"] for one in context.client.networks.list()]
    return names
