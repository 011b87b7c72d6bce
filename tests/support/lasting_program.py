"""A program that lasts and has a startup snapshot: it says what it has drawn by lot, as JSON."""

from __future__ import annotations

import json
import os
import random
import secrets
import sqlite3
import ssl
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable

sys.path.insert(0, f"{os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))}/src")

from wherry.startup.template import become

ORDINARY = [sys.executable, "-P", os.path.abspath(__file__)]
OWN = random.Random(7)
KEPT: list[object] = []


def of_a_database() -> str:
    """What the library for databases draws, which takes no notice of children."""
    with sqlite3.connect(":memory:") as database:
        (blob,) = database.execute("select hex(randomblob(16))").fetchone()
    return str(blob)


def drawn() -> list[str]:
    """Numbers of the generators that a program finds in its library."""
    temporary = next(iter(tempfile._RandomNameSequence()))  # type: ignore[attr-defined]  # what names files
    found = [random.random(), random.Random().random(), random.SystemRandom().random()]
    return [*map(str, found), ssl.RAND_bytes(16).hex(), secrets.token_hex(), str(uuid.uuid4()), temporary]


def of_a_child() -> list[str]:
    """The same, of a child of this process."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, json.dumps(drawn()).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    return list(json.loads(os.read(reader, 65536)))


def of_a_thread() -> list[object]:
    """What a thread of this process has: its numbers, the main one's ID, how large a stack."""
    found: list[object] = []
    one = threading.Thread(target=lambda: found.append(drawn()))
    one.start()
    one.join()
    return [*found, threading.main_thread().native_id == os.getpid(), threading.stack_size()]


BEFORE: dict[str, Callable[[], object]] = {
    "TLS": ssl.create_default_context,
    "a database": lambda: sqlite3.connect(":memory:"),
    "drawn": lambda: [drawn(), of_a_database(), OWN.random()],
}


def main() -> None:
    """Be the template, or say what there is."""
    options = dict(sys._xoptions)
    way = "stale" if "stale" in options else "ordinary"
    if "template" in options:
        KEPT.extend(BEFORE[name]() for name in sys.argv[1:])
        become(int(str(options["template"])), ORDINARY, lasts=True)
        way = "snapshot"
    found = {
        "way": way,
        "pid": os.getpid(),
        "seeded": [OWN.random(), of_a_database()],
        "own": drawn(),
        "child": of_a_child(),
        "thread": of_a_thread(),
    }
    resident = [line.split()[1] for line in open("/proc/self/status") if line.startswith("RssFile")]  # noqa: SIM115
    print(json.dumps({**found, "zone": time.tzname, "resident": int(resident[0])}), flush=True)
    os._exit(3)


if __name__ == "__main__":
    main()
