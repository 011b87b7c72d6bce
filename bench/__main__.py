"""``python -m bench [--rows run,exec] [--quick]``: measures, and prints a Markdown table.

Writes all samples to ``bench/results.json``, and from there the tables of ``bench/README.md`` and of the README.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from bench import debian, interpreter, machine, mirror, publish, rows, sides, table
from bench.measure import Bench, Row


def main() -> int:
    """Start the sides, measure the rows asked for, stop everything; gives 1 when a target was missed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rows", help=f"comma-separated, of: {', '.join(rows.GROUPS)}")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work: for trying the bench out")
    parser.add_argument("--only", choices=["docker", "wherry"], help="measure one side")
    parser.add_argument("--this-python", action="store_true", help="even if there is a faster build of it")
    parser.add_argument("--output", type=Path, default=publish.RESULTS)
    options = parser.parse_args()
    if not options.this_python and (better := interpreter.faster()):
        parser.error(
            f"on a new clone ./wherry would take {better}, which is faster than this Python: remove .venv and say "
            "`make bench` again, or measure with --this-python"
        )
    names = options.rows.split(",") if options.rows else list(rows.GROUPS)
    unknown = set(names) - set(rows.GROUPS)
    if unknown:
        parser.error(f"no such rows: {', '.join(sorted(unknown))}; there are {', '.join(rows.GROUPS)}")
    if os.geteuid() != 0:
        parser.error("containers are started here: run this as root")
    if set(names) & {"images", "transfer"}:
        debian.root_file_system()  # made while the machine's network is there
    if "real_image" in names:
        mirror.fetch()
    machine.own_network()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # the sides are stopped then, too
    measured: list[Row] = []
    with sides.started(options.only) as running:
        bench = Bench(running, quick=options.quick)
        for name in names:
            print(f"measuring {name}", file=sys.stderr, flush=True)
            measured += rows.GROUPS[name](bench)
        facts = table.facts(running, quick=options.quick)
    print(table.markdown(measured))
    table.write(options.output, measured, facts)
    if options.output == publish.RESULTS:
        publish.main()
    return 0 if all(row.met is not False for row in measured) else 1


if __name__ == "__main__":
    sys.exit(main())
