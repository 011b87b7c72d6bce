"""``wherry-oci run``: make a container, start it, and stay until it ends."""

from __future__ import annotations

from wherry.linux.process import set_child_subreaper
from wherry.ociruntime.call import Call, one_argument
from wherry.ociruntime.flags import parse
from wherry.ociruntime.foreground import Signals, wait
from wherry.ociruntime.launching import start, started
from wherry.ociruntime.making import MAKING_FLAGS, Made, make
from wherry.ociruntime.verbs.delete import delete

__all__ = ["ARGUMENTS", "FLAGS", "remove", "run"]

FLAGS = {**MAKING_FLAGS, "detach": False, "keep": False, "no-subreaper": False}
ARGUMENTS = "ID"


def run(call: Call, arguments: list[str]) -> int:
    """Run it. :returns: the program's exit code, or 128 and the number of the signal that ended it."""
    flags, rest = parse(arguments, FLAGS, short={"b": "bundle", "d": "detach", "f": "config"})
    name = one_argument(rest, "run")
    detach = flags.is_on("detach")
    arrived = None if detach else Signals()
    if not detach and not flags.is_on("no-subreaper"):
        set_child_subreaper(True)
    made = make(call, flags, name, waits=False, detach=detach, signals=arrived)
    _start(call, made)
    if arrived is None:
        made.container.close()
        return 0
    made.container.close()
    code = wait(made.started.pid, made.started.pidfd, made.started.master, arrived)
    if not flags.is_on("keep"):
        remove(call, name)
    return code


def _start(call: Call, made: Made) -> None:
    container, record = made.container, made.record
    try:
        if record.hooks["startContainer"]:
            start(container, record)
        else:
            started(container, record)
    except BaseException:
        with container:
            delete(call, container, record, record.status())
        raise


def remove(call: Call, name: str) -> None:
    """Remove it, unless somebody else has."""
    from wherry.errors import NotFound  # noqa: PLC0415
    from wherry.ociruntime.container import Container  # noqa: PLC0415

    try:
        container = Container.open(call.root, name)
    except NotFound:
        return
    with container:
        record = container.read()
        delete(call, container, record, record.status())
