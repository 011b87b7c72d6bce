"""The startup snapshot of ``wherry-oci`` (:mod:`wherry.startup`): what is in it, and where it is."""

from __future__ import annotations

import sys

from wherry.startup.cache import offer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

__all__ = ["become_template", "make_snapshot", "offer_snapshot"]

#: The modules that the light verbs import, or import when they need them.
_MODULES = (
    "main inner_hooks lasting_hooks group verbs.create verbs.start verbs.state verbs.kill verbs.delete verbs.run "
    "verbs.exec_ verbs.pause verbs.resume"
)
#: No container can be made there: it is no directory.
_NO_ROOT = "/dev/null/none"


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
    import json  # noqa: PLC0415
    import tempfile  # noqa: PLC0415
    from pathlib import Path  # noqa: PLC0415

    from wherry.ociruntime.verbs.spec import template  # noqa: PLC0415
    from wherry.startup.build import Program, make  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as bundle:
        (Path(bundle) / "rootfs").mkdir()
        (Path(bundle) / "config.json").write_text(json.dumps(template(rootless=False)))
        program = Program(
            interpreter=sys.executable,
            template=lambda base: ("-I", "-S", "-X", f"template={base}", _entry(source)),
            ordinary=("-I", "-S", _entry(source)),
            attempt=("--root", _NO_ROOT, "state", "nobody"),
            status=1,
            answer=b"container does not exist",
            larger=[("--root", _NO_ROOT, "run", "--bundle", bundle, "nobody")],
        )
        make(program, place)


def become_template(source: str, base: int) -> Callable[[], None]:
    """Import everything, and stop; a process that is made of the snapshot returns from here.

    The path of modules begins with the small ones.

    :returns: see :func:`wherry.startup.template.become`.
    """
    from wherry.ociruntime.collected import Collected  # noqa: PLC0415

    collected = Collected(source)
    sys.meta_path.insert(0, collected)
    for name in _MODULES.split():
        __import__(f"wherry.ociruntime.{name}")
    from wherry.startup.template import become  # noqa: PLC0415

    collected.close()
    sys.meta_path.remove(collected)
    return become(base, (sys.executable, "-I", "-S", _entry(source)))
