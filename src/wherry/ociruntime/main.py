"""``wherry-oci``: parse the global flags, and hand over to a verb."""

from __future__ import annotations

import os
import sys

from wherry.errors import InvalidInput, WherryError
from wherry.ociruntime.call import GLOBAL_FLAGS, Call
from wherry.ociruntime.flags import parse
from wherry.ociruntime.messages import Log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

__all__ = ["main", "run"]

_NAMES = "create start state kill delete run ps pause resume update events spec features checkpoint restore"
#: Verb to its module.
VERBS = {verb: verb for verb in _NAMES.split()} | {"exec": "exec_", "list": "list_"}
_FAILED = 1
_USAGE = """usage: wherry-oci [--root DIR] [--log FILE] [--log-format text|json] [--debug] VERB [FLAG...] [ARGUMENT...]

verbs: {verbs}
"""


def main(afterwards: Callable[[int], None] = lambda code: None) -> NoReturn:
    """Entry point: run the command and leave with its exit code.

    :param afterwards: what is done when all else is; it gets the exit code.
    """
    code = run(sys.argv[1:])
    try:
        if sys.stdout is not None:  # the caller may have closed it
            sys.stdout.flush()
    except OSError:  # nobody reads it
        code = code or _FAILED
    afterwards(code)
    # Nothing is left to be tidied up, and an interpreter takes a millisecond for it.
    os._exit(code)


def run(arguments: list[str]) -> int:
    """Run the command. :returns: its exit code."""
    log = Log("", as_json=False, debug=False)
    try:
        flags, rest = parse(arguments, GLOBAL_FLAGS, short={"v": "version", "h": "help"}, mixed=False)
        call = Call(flags)
        log = call.log
        if flags.is_on("version"):
            print(version())
            return 0
        if flags.is_on("help") or not rest or rest[0] == "help":
            print(_USAGE.format(verbs=" ".join(sorted(VERBS))), end="")
            return 0
        call.check()
        return _verb(call, rest[0], rest[1:])
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # a caller reads the log, and no traceback
        log.failure(_sentence(error))
        return _FAILED


def _sentence(error: Exception) -> str:
    if isinstance(error, WherryError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename or 'system call'}: {(error.strerror or str(error)).lower()}"
    return f"{type(error).__name__}: {error}"


def _verb(call: Call, verb: str, arguments: list[str]) -> int:
    if verb not in VERBS:
        raise InvalidInput(f"no such command: {verb!r}")
    name = f"wherry.ociruntime.verbs.{VERBS[verb]}"
    __import__(name)
    module = sys.modules[name]
    if arguments[:1] in (["--help"], ["-h"]):
        flags = " ".join(f"[--{flag}{' VALUE' if takes else ''}]" for flag, takes in module.FLAGS.items())
        print(f"usage: wherry-oci {verb} {flags} {module.ARGUMENTS}")
        return 0
    code: int = module.run(call, arguments)
    return code


def version() -> str:
    """What callers parse: a line with the word ``version``, one that begins with ``spec:``."""
    from wherry import __version__  # noqa: PLC0415

    return f"wherry-oci version {__version__}\nspec: 1.3.0"
