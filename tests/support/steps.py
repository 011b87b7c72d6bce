"""A real engine of the tests' own, in a thread with an event loop, to run build steps on: no API, no images."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import quiet
from machine import static_busybox
from support.busybox import root_file_system
from support.network_objects import remove_network_objects
from wherry.build.model.executor import Limits, Output, Step, StepMount, StepResult
from wherry.build.model.graph import ExecOp
from wherry.content.durable import remove_tree
from wherry.engine.engine import Engine
from wherry.engine.settings import Settings
from wherry.layers.overlay_paths import OverlayMount
from wherry.oci.platform import Platform
from wherry.runtime import cgroups

__all__ = ["PATIENCE", "Ran", "StepBench", "eventually", "left_by_a_killed_daemon", "step_bench"]

T = TypeVar("T")
PATIENCE = quiet.patience(120)  # seconds


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until something is so; fails when it takes too long."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class Ran:
    """A step that has ended, its output, and the layer that it has made."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.result = StepResult(-1)
        self.streams: dict[int, bytes] = {1: b"", 2: b""}

    @property
    def text(self) -> str:
        """Its standard output."""
        return self.streams[1].decode(errors="replace")

    @property
    def errors(self) -> str:
        """Its standard error."""
        return self.streams[2].decode(errors="replace")

    @property
    def layer(self) -> Path:
        """Its writable directory."""
        return Path(self.step.root.upper)

    def changes(self) -> list[str]:
        """The paths in its layer."""
        return sorted(str(path.relative_to(self.layer)) for path in self.layer.rglob("*"))

    async def take(self, stream: int, data: bytes) -> None:
        """Take output."""
        self.streams[stream] += data


class StepBench:
    """An engine, and a root file system with busybox that steps begin from."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.root = base / "root"
        self.settings = Settings(data_root=base / "data", exec_root=base / "run", cgroup_parent=base.name)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="engine", daemon=True)
        self.engine: Engine
        if self.root.exists():
            return
        self.root.mkdir()
        busybox = static_busybox()
        assert busybox is not None
        subprocess.run(["tar", "-xC", self.root], input=root_file_system(busybox), check=True)

    # --- the engine ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it."""
        if not self._thread.is_alive():
            self._thread.start()
        self.engine = self.call(Engine.open(self.settings))

    def stop(self) -> None:
        """End it, and everything of it; fails if that takes too long, or leaves something."""
        if not self._thread.is_alive():
            self._loop.close()
            return
        try:
            self.call(self.engine.shutdown(kill=True))
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the engine's event loop does not end"
        self._loop.close()
        assert not os.listdir(self.base / "data/tmp"), "something is left of steps"
        assert not cgroups.open(f"/{self.base.name}").exists(), "processes are left of steps"

    def destroy(self) -> None:
        """Whatever happened: leave nothing behind."""
        try:
            group = cgroups.open(f"/{self.base.name}")
            if group.exists():
                group.kill_all(PATIENCE)
                group.destroy()
        finally:
            with suppress(FileNotFoundError, ProcessLookupError):
                words = Path(f"/proc/{self.keeper_pid}/cmdline").read_bytes()
                if os.fsencode(self.settings.exec_root) in words:
                    os.kill(self.keeper_pid, signal.SIGKILL)
            remove_network_objects(self.settings.exec_root)
            remove_tree(self.base)

    def begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
        """Begin something on the engine's loop; the future is to be used with `call` and there only."""

        async def made() -> asyncio.Future[T]:
            return asyncio.ensure_future(work)

        return self.call(made())

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Carry something out on the engine's loop, and wait."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def wait(self, future: Awaitable[T]) -> T:
        """Wait for what was begun."""

        async def waiting() -> T:
            return await future

        return self.call(waiting())

    def cancel(self, future: asyncio.Future[Any]) -> None:
        """Cancel what was begun, and wait until it has ended."""

        async def cancelling() -> None:
            future.cancel()
            await asyncio.wait([future])

        self.call(cancelling())

    @property
    def keeper_pid(self) -> int:
        """The keeper's process ID."""
        return int((self.settings.exec_root / "keeper.pid").read_text())

    # --- steps --------------------------------------------------------------------------------------

    def step(
        self,
        *args: str,
        env: tuple[str, ...] = ("PATH=/bin",),
        mounts: tuple[StepMount, ...] = (),
        lower: tuple[str, ...] | None = None,
        limits: Limits | None = None,
        readonly: bool = False,
        platform: Platform | None = None,
        network: str = "none",
        binds: tuple[str, ...] = (),
        **op: Any,
    ) -> Step:
        """A step; a single argument is a script.

        :param binds: what of this machine is mounted below all else, ``SOURCE:TARGET[:ro]``.
        """
        mounts = (*map(_bind, binds), *mounts)
        command = ("/bin/sh", "-c", *args) if len(args) == 1 else args
        layer = self.directory()
        for name in ("upper", "work"):
            (layer / name).mkdir()
        root = OverlayMount("/", lower or (str(self.root),), str(layer / "upper"), str(layer / "work"))
        return Step(
            id=secrets.token_hex(32), op=ExecOp(args=command, mounts=(), network=network, **op), root=root, env=env,
            mounts=mounts, limits=limits or Limits(), readonly=readonly, platform=platform,
        )  # fmt: skip

    def directory(self) -> Path:
        """A new directory."""
        return Path(tempfile.mkdtemp(dir=self.base))

    def run(self, *args: str, **options: Any) -> Ran:
        """Run a step to its end."""
        ran = Ran(self.step(*args, **options))
        ran.result = self.call(self.engine.steps.run(ran.step, ran.take))
        return ran

    def launch(self, step: Step, output: Output) -> asyncio.Future[StepResult]:
        """Begin a step."""
        return self.begin(self.engine.steps.run(step, output))

    def launch_and_await(self, word: bytes, *args: str, **options: Any) -> tuple[Ran, asyncio.Future[StepResult]]:
        """Begin a step, and wait until it has said something."""
        said, ran = threading.Event(), Ran(self.step(*args, **options))

        async def output(stream: int, data: bytes) -> None:
            await ran.take(stream, data)
            if word in ran.streams[stream]:
                said.set()

        running = self.launch(ran.step, output)
        eventually(lambda: said.is_set() or running.done())
        assert said.is_set(), (ran.streams, running)
        return ran, running

    def cgroup(self, step: Step) -> cgroups.Cgroup:
        """The cgroup that a step has while it runs."""
        return cgroups.open(f"/{self.settings.cgroup_parent}/{step.id}")

    def remains(self, step: Step) -> list[str]:
        """What is left of a step that has ended: processes and mounts; at its leisure the engine removes more."""
        group = self.cgroup(step)
        found = [f"process {pid}" for pid in (group.pids() if group.exists() else [])]
        for mountinfo in Path("/proc").glob("[0-9]*/mountinfo"):
            try:
                text = mountinfo.read_text()
            except OSError:
                continue
            found += [f"{mountinfo}: {line}" for line in text.splitlines() if step.root.upper in line]
        return found


def _bind(text: str) -> StepMount:
    source, target, *access = text.split(":")
    return StepMount(target=target, kind="bind", source=source, readonly=access == ["ro"])


@contextmanager
def step_bench(*, begin: bool = True) -> Iterator[StepBench]:
    """A bench while the ``with`` block lasts.

    :param begin: whether to start the engine; else the block does.
    """
    bench = StepBench(Path(tempfile.mkdtemp(prefix="wherry-steps-")))
    try:
        if begin:
            bench.start()
        yield bench
    finally:
        try:
            bench.stop()
        finally:
            bench.destroy()


def left_by_a_killed_daemon(bench: StepBench, script: str, network: str = "none", binds: tuple[str, ...] = ()) -> str:
    """The ID of a step whose daemon was killed when the step had said "here".

    :param bench: one whose own engine was not started.
    """
    command = [sys.executable, "-m", "support.steps", str(bench.base), network, *binds, script]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True) as daemon:
        timer = threading.Timer(PATIENCE, daemon.kill)
        timer.start()
        assert daemon.stdout is not None
        identifier = daemon.stdout.readline().strip()
        timer.cancel()
        daemon.kill()
    assert identifier, "it did not come so far"
    return identifier


def main() -> None:
    """Open an engine, start a step, and say when it has said something: to be killed then, or to end with its input."""
    base, network, *binds, script = sys.argv[1:]
    bench = StepBench(Path(base))
    bench.start()
    ran, _ = bench.launch_and_await(b"here", script, network=network, binds=tuple(binds))
    print(ran.step.id, flush=True)
    sys.stdin.read()
    bench.stop()


if __name__ == "__main__":
    main()
