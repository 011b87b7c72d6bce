"""Processes that are compared with a specification: every thread of them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from wherry.errors import Forbidden
from wherry.linux.capabilities import CAP
from wherry.oci.runtime_spec import Capabilities, Process, Spec
from wherry.runtime.criu import confined

PR_SET_NO_NEW_PRIVS = 38
PROGRAM = f"""
import ctypes, sys, threading
first = threading.Thread(target=sys.stdin.read)
if "before" in sys.argv:
    first.start()
ctypes.CDLL(None).prctl({PR_SET_NO_NEW_PRIVS}, 1, 0, 0, 0)
if "before" not in sys.argv:
    first.start()
print("there", flush=True)
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_thread_with_more_rights_than_the_first_one_is_noticed(when: str) -> None:
    every = tuple(f"CAP_{one.name}" for one in CAP)
    spec = Spec(process=Process("/", no_new_privileges=True, capabilities=Capabilities(bounding=every)))
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", PROGRAM, when], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        if when == "before":
            with pytest.raises(Forbidden, match="may gain privileges"):
                confined._check_rights(process.pid, spec)
        else:
            confined._check_rights(process.pid, spec)
        process.kill()
