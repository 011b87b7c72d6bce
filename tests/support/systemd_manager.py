"""A manager of systemd's to test with: the user's kind, which need not be the machine's first process.

It believes that the machine was booted with systemd, because in its mount namespace /run says so. It has one target to
start, and a control group of its own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import quiet
from wherry.errors import Unsupported, WherryError
from wherry.runtime import cgroups
from wherry.runtime.cgroups.dbus import Conversation
from wherry.runtime.cgroups.directory import KernelFiles
from wherry.runtime.cgroups.v1 import CgroupV1

PROGRAM = next((path for path in ("/usr/lib/systemd/systemd", "/lib/systemd/systemd") if os.path.exists(path)), None)
_BOOTED = (
    "mount --make-rprivate / && mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system && "
    'for group; do echo 0 >"$group/cgroup.procs" || exit 1; done; exec $SYSTEMD --user --log-target=console'
)


@contextmanager
def manager(directory: Path) -> Iterator[Path]:
    """Run one; gives the directory that ``XDG_RUNTIME_DIR`` is to name."""
    runtime, units = directory / "runtime", directory / "units"
    for made in (runtime, units):
        made.mkdir(mode=0o700)
    (units / "default.target").write_text("[Unit]\nDescription=Nothing\n")
    tops = _hierarchies()
    groups = [Path(f"{top}/wherry-test-systemd-{os.getpid()}") for top in tops.values()]
    for group in groups:
        group.mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "XDG_RUNTIME_DIR": str(runtime),
        "SYSTEMD_UNIT_PATH": str(units),
        "SYSTEMD": str(PROGRAM),
    }
    log = directory / "systemd.log"
    with log.open("wb") as file:
        command = ["unshare", "-m", "sh", "-c", _BOOTED, "sh", *map(str, groups)]
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file, stdin=subprocess.DEVNULL)
    try:
        _await_manager(process, runtime, log)
        yield runtime
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        everywhere = {**cgroups.hierarchies().v1, **tops}  # containers have directories beside systemd's own
        CgroupV1(f"/{groups[0].name}", everywhere, KernelFiles()).destroy()


def _hierarchies() -> dict[str, str]:
    """Where systemd keeps its units."""
    found = cgroups.hierarchies()
    named = found.v1.get("name=systemd")
    return {name: top for name, top in (("systemd", named), ("unified", found.v2)) if top is not None}


def _await_manager(process: subprocess.Popen[bytes], runtime: Path, log: Path) -> None:
    deadline = time.monotonic() + quiet.patience(60)
    while True:
        assert process.poll() is None, log.read_text()
        if (runtime / "systemd/private").exists():
            before = os.environ.get("XDG_RUNTIME_DIR")
            os.environ["XDG_RUNTIME_DIR"] = str(runtime)
            try:
                Conversation(user=True).close()
            except (Unsupported, WherryError):
                pass
            else:
                return
            finally:
                if before is None:
                    del os.environ["XDG_RUNTIME_DIR"]
                else:
                    os.environ["XDG_RUNTIME_DIR"] = before
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)


def property_of(unit: str, name: str) -> Any:
    """A property of a unit, as the user's manager says it."""
    with Conversation(user=True) as asked:
        (path,) = asked.call("GetUnit", "s", (unit,))
        kind = "Scope" if unit.endswith(".scope") else "Slice"
        ((_, value),) = asked.call(
            "Get", "ss", (f"org.freedesktop.systemd1.{kind}", name),
            interface="org.freedesktop.DBus.Properties", path=path,
        )  # fmt: skip
        return value
