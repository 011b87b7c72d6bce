"""Hand the command line over to a plugin of docker's: this process becomes it."""

from __future__ import annotations

import os
import sys

from wherry.cli.context import context_name, find_daemon
from wherry.cli.daemon.plugins import environment_for, find_plugin
from wherry.errors import CommandNotExecutable, CommandNotFound, WherryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from wherry.cli.context import Context

__all__ = ["hand_over"]


def hand_over(context: Context, name: str, arguments: list[str], *, offline: bool, missing: str, hint: str) -> NoReturn:
    """Become a plugin's program, which is told which daemon to talk to.

    :param offline: it will need no daemon; else one is started, if this process may.
    :param missing, hint: what to say when it is not installed.
    :raises CommandNotFound: it is not installed.
    """
    program = find_plugin(name)
    if not program:
        raise CommandNotFound(missing, hint=hint)
    address = find_daemon(context.global_options)
    environment = environment_for(address, context_name(context.global_options), os.environ)
    if not offline and not address.ssh:
        _start_daemon(context)
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execve(program, [program, *arguments], environment)
    except OSError as error:
        raise CommandNotExecutable(f"cannot execute {program}", cause=(error.strerror or str(error)).lower()) from error


def _start_daemon(context: Context) -> None:
    try:
        context.client.close()
    except WherryError:
        return  # it is the plugin's to say that it reaches no daemon: not all that it does needs one
