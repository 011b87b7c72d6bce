"""A registry in a process of its own, which can be killed."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "src"


class Registry:
    """A running registry."""

    def __init__(self, *flags: str) -> None:
        command = [sys.executable, "-m", "wherry.registry.server", "serve", "--addr", "127.0.0.1:0", *flags]
        environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self.process.stdout
        line = self.process.stdout.readline().decode()
        if not line.startswith("listening on "):
            assert self.process.stderr
            raise AssertionError(f"the registry did not start: {self.process.stderr.read().decode()}")
        self.address = line.removeprefix("listening on ").strip()
        self.url = f"http://{self.address}"

    def end(self) -> int:
        """Ask it to end. :returns: its exit code."""
        self.process.terminate()
        code = self.process.wait(60)
        self.close()
        return code

    def kill(self) -> None:
        """As a power cut would, as far as a process is concerned."""
        self.process.kill()
        self.process.wait(60)
        self.close()

    def close(self) -> None:
        for stream in (self.process.stdout, self.process.stderr):
            if stream:
                stream.close()


@contextlib.contextmanager
def running(*flags: str) -> Iterator[Registry]:
    """Run one, to the end of the block at most."""
    started = Registry(*flags)
    try:
        yield started
    finally:
        started.kill()  # nothing is killed that has ended; its pipes are closed all the same
