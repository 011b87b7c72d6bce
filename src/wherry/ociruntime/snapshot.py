"""The startup snapshot of ``wherry-oci`` (:mod:`wherry.startup`): what is in it, and where it is."""

from __future__ import annotations

import sys

from wherry.startup.cache import offer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["become_template", "make_snapshot", "offer_snapshot"]

#: The modules that the light verbs import, or import when they need them.
_MODULES = (
    "main inner_hooks lasting_hooks group verbs.create verbs.start verbs.state verbs.kill verbs.delete verbs.run "
    "verbs.exec_ verbs.pause verbs.resume"
)
_NOTHING = "no-container"


def _entry(source: str) -> str:
    return f"{source}/wherry/ociruntime/entry.py"


def offer_snapshot(source: str, *, stale: bool) -> None:
    """Make a snapshot, if it is time to.

    :param source: the directory that ``wherry`` is in.
    :param stale: the one that there is has found itself out of date.
    """

    def command(place: str) -> list[str]:
        return [sys.executable, "-I", "-S", "-X", f"snapshot={place}", _entry(source)]

    offer(f"{source}/wherry/ociruntime/__pycache__", "wherry-oci", command, stale=stale)


def make_snapshot(source: str, place: str) -> NoReturn:
    """Make the snapshot; this process has all modules, and leaves."""
    from wherry.startup.build import Program, make  # noqa: PLC0415

    program = Program(
        interpreter=sys.executable,
        template=lambda base: ("-I", "-S", "-X", f"template={base}", _entry(source)),
        ordinary=("-I", "-S", _entry(source)),
        attempt=("--root", f"{place}.{_NOTHING}", "state", _NOTHING),
        status=1,
        answer=b"container does not exist",
    )
    make(program, place)


def become_template(source: str, base: int) -> None:
    """Import everything, and stop; a process that is made of the snapshot returns from here.

    The path of modules begins with the small ones.
    """
    from wherry.ociruntime.collected import Collected  # noqa: PLC0415

    collected = Collected(source)
    sys.meta_path.insert(0, collected)
    for name in _MODULES.split():
        __import__(f"wherry.ociruntime.{name}")
    from wherry.startup.template import become  # noqa: PLC0415

    collected.close()
    sys.meta_path.remove(collected)
    become(base, (sys.executable, "-I", "-S", _entry(source)))
