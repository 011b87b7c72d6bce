"""The Python that wherry is measured on: the one that a user of ``./wherry`` gets."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

_CHOOSE = Path(__file__).resolve().parent.parent / "packaging" / "choose-python"


def build() -> str:
    """The build that runs this: version, and when and by what it was compiled."""
    number, date = platform.python_build()
    return f"{platform.python_version()} ({number}, {date}), {platform.python_compiler()}"


def faster() -> str | None:
    """The Python of the same version that ``./wherry`` would take in place of this one; None if it is this one."""
    own = os.path.realpath(sys.executable)
    chosen = subprocess.run([_CHOOSE, own], capture_output=True, text=True, check=True).stdout.strip()
    asked = [chosen, "-c", "import os, sys; print(os.path.realpath(sys.executable))"]
    found = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    return None if found == own else found
