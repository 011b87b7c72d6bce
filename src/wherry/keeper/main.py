"""The program: ``python -m wherry.keeper.main --exec-root DIR [--daemonize]``.

It is crash-only: there is no orderly end while processes run, and none is needed. A termination signal ends it as
``kill -9`` does, and the next keeper takes over from the records in the exec-root.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
import socket
import sys
from typing import NamedTuple

from wherry import legible
from wherry.errors import InvalidInput, WherryError
from wherry.keeper import exec_root as files
from wherry.keeper import upgrade
from wherry.keeper.contract import Launcher
from wherry.keeper.keeper import Keeper
from wherry.keeper.loop import say
from wherry.linux.fd import Fd
from wherry.linux.process import set_dumpable, set_name
from wherry.runtime.launch.sealed_exe import reexec_from_readonly_mount

USAGE = "usage: keeper --exec-root DIR [--daemonize]"
OPEN_FILES = 65536
"""Descriptors that the keeper allows itself if it may: five for a container, and so enough for 13,000."""


class Options(NamedTuple):
    """The command line."""

    exec_root: str
    daemonize: bool = False
    resume: int | None = None


def main(arguments: list[str] | None = None, launcher: Launcher | None = None) -> int:
    """Run a keeper; gives the exit code.

    :param launcher: starts programs; the default is :mod:`wherry.runtime`.
    """
    try:
        options = parse(sys.argv[1:] if arguments is None else arguments)
        if options.resume is None:
            return _begin(options, launcher)
        return _resume(options, launcher)
    except WherryError as error:
        print(f"keeper: {legible.lines(str(error))}", file=sys.stderr)
        return 2 if isinstance(error, InvalidInput) else 1


def parse(arguments: list[str]) -> Options:
    """Read the command line; by hand, because argparse would double the keeper's start-up time.

    :raises InvalidInput: with the usage.
    """
    given: dict[str, str] = {}
    words = iter(arguments)
    for word in words:
        if word == "--daemonize":
            given[word] = ""
        elif word in ("--exec-root", upgrade.OPTION) and (value := next(words, None)) is not None:
            given[word] = value
        else:
            raise InvalidInput(f"unexpected argument {word!r}", hint=USAGE)
    if not given.get("--exec-root"):
        raise InvalidInput("--exec-root is missing", hint=USAGE)
    resume = given.get(upgrade.OPTION)
    if resume is not None and not resume.isdecimal():
        raise InvalidInput(f"{upgrade.OPTION} takes a descriptor's number, not {resume!r}")
    root = os.path.abspath(given["--exec-root"])
    return Options(root, "--daemonize" in given, None if resume is None else int(resume))


def _begin(options: Options, launcher: Launcher | None) -> int:
    """Become the keeper of an exec-root."""
    os.umask(0o077)
    os.makedirs(options.exec_root, mode=0o700, exist_ok=True)
    if options.daemonize:
        daemonize(os.path.join(options.exec_root, files.LOG))
    with files.lock(options.exec_root) as lock, files.listen(options.exec_root) as listener:
        files.write_pid(options.exec_root)
        keeper = _keeper(options, launcher, listener, lock)
        keeper.processes.restore()
        _serve(keeper)
        files.remove(options.exec_root)
    return 0


def _resume(options: Options, launcher: Launcher | None) -> int:
    """Go on after a re-execution."""
    assert options.resume is not None
    state = upgrade.load(options.resume)
    with Fd(state["lock"]) as lock, socket.socket(fileno=state["listener"]) as listener:
        listener.setblocking(False)
        keeper = _keeper(options, launcher, listener, lock)
        keeper.resume(state)
        _serve(keeper)
        files.remove(options.exec_root)
    return 0


def _keeper(options: Options, launcher: Launcher | None, listener: socket.socket, lock: Fd) -> Keeper:
    def reexecute(state: upgrade.Fields, fds: list[int]) -> None:
        upgrade.reexecute({**state, "lock": lock.fileno()}, [*fds, lock.fileno()])

    protect_self()
    return Keeper(options.exec_root, launcher or _runtime_launcher(), listener, reexecute)


def _runtime_launcher() -> Launcher:
    from wherry.keeper.runtime_launcher import RuntimeLauncher  # noqa: PLC0415 - not needed with another launcher

    return RuntimeLauncher()


def _serve(keeper: Keeper) -> None:
    # Pages of long-lived objects are shared with children until somebody writes to them; the collector does.
    gc.collect()
    gc.freeze()
    keeper.run()


def protect_self() -> None:
    """Make this process hard to kill by accident, and impossible to look into for a container."""
    set_dumpable(False)
    set_name("wherry-keeper")
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP):
        signal.signal(number, signal.SIG_IGN)  # a terminal's keys are not meant for us; children get the defaults back
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < min(hard, OPEN_FILES):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, OPEN_FILES), hard))
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write("-999")
    except PermissionError:
        return  # an ordinary user's keeper is as likely to be killed as anything else of his


def daemonize(log: str) -> None:
    """Leave the caller's session, process group, directory and terminal; standard error goes to a file.

    The process that was called leaves at once with exit code 0; a grandchild returns. See daemon(7), "SysV Daemons".
    """
    error = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)  # who is no session leader can never get a controlling terminal
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for target, source in ((0, null), (1, error), (2, error)):
        os.dup2(source, target)
    os.close(null)
    os.close(error)
    say(f"keeper {os.getpid()} started")


if __name__ == "__main__":
    reexec_from_readonly_mount(sys.orig_argv[1:])
    sys.exit(main())
