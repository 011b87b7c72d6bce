"""``wherry completion``: the completion script for a shell."""

from __future__ import annotations

from wherry.cli.console import write_raw
from wherry.cli.exit import Exit
from wherry.cli.flags.parser import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "bash|zsh|fish", "Generate the completion script for a shell: commands, flags and names", min_args=1, max_args=1
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Print the script; ``source <(wherry completion bash)`` activates it."""
    from wherry.cli.completion.scripts import SCRIPTS

    script = SCRIPTS.get(arguments[0])
    if script is None:
        raise Exit(1, f'no completion for the shell "{arguments[0]}": bash, zsh and fish are known')
    write_raw(script)
    return 0
