"""``wherry completion``: let a shell complete verbs, flags and names."""

from __future__ import annotations

import sys

from wherry.cli.flags import Command
from wherry.cli.leave import Leave

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command("bash|zsh|fish", "Print a script that makes a shell complete verbs, flags and names", least=1, most=1)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Print it; ``source <(wherry completion bash)`` puts it in force."""
    from wherry.cli.completion import SCRIPTS

    script = SCRIPTS.get(arguments[0])
    if script is None:
        raise Leave(1, f'no completion for the shell "{arguments[0]}": bash, zsh and fish are known')
    sys.stdout.write(script)
    return 0
