"""Where the trampoline's data is nothing else is, whatever the layout of a process's memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from wherry.linux import elf

ROOM = 1 << 20
#: Debian's is linked to fixed addresses, and its heap follows it; others may be anywhere.
INTERPRETERS = [path for path in (sys.executable, "/usr/bin/python3") if Path(path).exists()]
LAYOUTS = {
    "as it is": "exec",
    "not at random": "exec setarch -R",
    "from below": "exec setarch -L",
    "a stack without limit": "ulimit -s unlimited; exec",
    "a stack that may be huge": "ulimit -s 100000000000; exec",
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_the_memory_for_the_last_calls_is_far_from_all_else(interpreter: str, layout: str) -> None:
    """4 GB free below it and 8 above: at 256 MB one heap in a hundred was there, and nothing that a test would see."""
    look = "f = open('/proc/self/maps'); print(f.read())"
    for _ in range(5):
        command = [*"sh -c".split(), LAYOUTS[layout] + ' "$@"', "sh", interpreter, "-I", "-S", "-c", look]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        ranges = [[int(end, 16) for end in line.split()[0].split("-")] for line in text.splitlines() if line]
        assert max((end for _, end in ranges if end <= elf.DATA + ROOM), default=0) <= elf.DATA - (4 << 30), text
        assert min(begin for begin, end in ranges if end > elf.DATA) >= elf.DATA + (8 << 30), text
