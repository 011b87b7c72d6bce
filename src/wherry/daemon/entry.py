"""Entry point of the daemon's startup snapshot: what it is made of, and what is executed in its place.

``python -P .../wherry/daemon/entry.py``; the package is then found next to this file.
"""

import os
import sys


def begin(source: str) -> int:
    """Make the snapshot, or be its template, or the daemon."""
    from wherry.daemon import snapshot  # noqa: PLC0415 - the path of modules comes first

    options = sys._xoptions
    if "snapshot" in options:
        snapshot.make_snapshot(source, str(options["snapshot"]))
    start = snapshot.become_template(source, options) if "template" in options else snapshot.Start()
    from wherry.daemon.program import run  # noqa: PLC0415 - as above

    code = run(sys.argv[1:], start)
    if "--validate" in sys.argv:  # as the snapshot's maker asks for: what it looks at is not the interpreter's end
        sys.stderr.flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    here = __file__.rpartition("/wherry/daemon/")[0]
    sys.path.insert(0, here)
    sys.exit(begin(here))
