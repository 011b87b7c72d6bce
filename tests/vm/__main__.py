"""Run tests in the virtual machine: ``python -m tests.vm [--keep] [PYTEST ARGUMENTS]``."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tempfile
import threading
import xml.etree.ElementTree as ET
from pathlib import Path

from tests import machine
from tests.vm import chosen, image, kernel

PARAMETERS = (
    *"console=ttyS0 quiet panic=-1 mitigations=off cgroup_no_v1=all".split(),
    "norandmaps",
    "transparent_hugepage=never",
    "clearcpuid=112",
)
"""The kernel's. What qemu translates it finds again by address, so no addresses of chance: a third less time, as each
test starts programs. It forgets all addresses of a process that has one huge page as soon as one changes; and repeats
"rep movsq" word by word, so pages are copied by loops (112 is the feature REP_GOOD): another fifth less."""


def main() -> int:
    """Boot, run, report; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.vm", description=__doc__)
    parser.add_argument(
        "--python", type=Path, default=machine.ROOT / ".venv/bin/python", help="interpreter to take along"
    )
    parser.add_argument("--junit", type=Path, help="where to write the report")
    parser.add_argument("--minutes", type=float, default=50.0, help="the longest the machine may run")
    parser.add_argument("--memory", default="3072M")
    parser.add_argument("--shell", metavar="COMMAND", help="run a command instead of the tests")
    options, named = parser.parse_known_args()
    selection = named or chosen.nodes(*chosen.TABLES)
    machine.CACHE.mkdir(exist_ok=True)
    found = kernel.find()
    print(f"kernel {found.release} from {found.image}", flush=True)
    with tempfile.TemporaryDirectory(prefix="vm-", dir=machine.CACHE) as directory:
        python = options.python.absolute()
        if not options.shell:
            machine.rewritten(python, selection)
        disks = prepare(Path(directory), python, found, options.shell or script(selection))
        finished = boot(disks, found, options.memory, options.minutes * 60)
        return conclude(image.read_report(disks / "report"), finished, options.junit)


def script(selection: list[str]) -> str:
    """The guest's command: one run of pytest, as to import what tests need takes half a minute in there."""
    options = ["-q", "-p", "no:cacheprovider", "-o", "timeout=1200", "--durations=15", "--junitxml=/job/report.xml"]
    return shlex.join([".venv/bin/python", "-m", "pytest", *options, *selection])


def prepare(directory: Path, python: Path, found: kernel.Kernel, command: str) -> Path:
    """Make the disks of one run in ``directory``."""
    base = image.root_disk(python, found)
    (directory / "root").symlink_to(base)
    image.initramfs(found, directory / "initramfs")
    image.report_disk(directory / "report")
    (directory / "settings").write_text(settings(command))
    image.repository_disk(directory / "repository", directory / "settings")
    return directory


def settings(command: str) -> str:
    """Shell assignments that the guest reads."""
    # not WHERRY_MUST_WORK: an older kernel is the point of this machine, and some tests need a newer one
    exported = {"WHERRY_VM": "1"}
    lines = [f"export {name}={shlex.quote(value)}" for name, value in exported.items()]
    lines += [
        f"REPOSITORY={shlex.quote(str(machine.ROOT))}",
        f"COMMAND={shlex.quote(command)}",
    ]
    return "\n".join(lines) + "\n"


def boot(disks: Path, found: kernel.Kernel, memory: str, seconds: float) -> bool:
    """Run qemu with the console on our standard output; False when it had to be ended.

    One thread for both processors needs no atomic instructions: a tenth less time, and the rest of this machine is for
    the other parts of the tests.
    """
    command = [
        "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-machine", "pc", "-accel", "tcg,thread=single", "-cpu", "Nehalem", "-smp", "2", "-m", memory,
        "-kernel", str(found.image), "-initrd", str(disks / "initramfs"),
        "-append", " ".join(PARAMETERS),
        "-serial", "stdio",
        *drive("root", disks, "snapshot=on"), *drive("repository", disks, "readonly=on"), *drive("report", disks),
    ]  # fmt: skip
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        return process.wait() == 0
    finally:
        timer.cancel()
        if process.poll() is None:
            process.kill()
            process.wait()


def drive(name: str, disks: Path, *options: str) -> list[str]:
    """The words that give the machine one more disk."""
    return ["-drive", ",".join([f"file={disks / name}", "if=virtio", "format=raw", *options])]


def conclude(report: dict[str, bytes], finished: bool, junit: Path | None) -> int:
    """Say how it ended and write the reports as one."""
    if not finished or "status" not in report:
        print("the virtual machine did not finish", file=sys.stderr)
        return 1
    suites = ET.Element("testsuites")
    for name in sorted(report):
        if name.endswith(".xml"):
            suites.extend(ET.fromstring(report[name]).iter("testsuite"))
    if junit:
        ET.ElementTree(suites).write(junit)
    return int(report["status"])


if __name__ == "__main__":
    sys.exit(main())
