"""The executor: a step of a build is a container's start, by the same plan, keeper and warm child as ``run``.

The differences: it is in no table; its output goes through pipes of ours, to whoever takes it, and nowhere else; it
never outlives this process (after ``kill -9`` the next daemon ends it, `wherry.engine.recovery.reconcile`), nor the
keeper.
"""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from wherry.build.model.executor import StepResult
from wherry.build.model.progress import Cost
from wherry.content.durable import disk_errors, remove_tree
from wherry.engine.build import remains
from wherry.engine.build.emulation import explained
from wherry.engine.build.guest import environment, guest_of
from wherry.engine.build.interactive import AttendedStreams
from wherry.engine.build.joining import join
from wherry.engine.build.mount_places import PlaceLayers, remove_places
from wherry.engine.build.mounting import Mounts, make_mounts
from wherry.engine.build.output import OutputPipes
from wherry.engine.container import etc_files
from wherry.engine.lifecycle import other_runtimes
from wherry.engine.lifecycle.start import plan_memfd
from wherry.engine.spec.build import build_spec
from wherry.engine.spec.bundle import has_outer_hooks, manner_of
from wherry.engine.spec.context import SpecContext, cgroup_path
from wherry.engine.spec.devices import HostDevices
from wherry.engine.spec.host_sources import on_the_host
from wherry.engine.threads.bounded_call import call_bounded
from wherry.errors import Conflict, Unavailable, WherryError
from wherry.linux.fd import Fd
from wherry.runtime.compile.exec import ContainerState
from wherry.runtime.compile.spec import compile_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from pathlib import Path

    from wherry.build.model.container import ContainerProcess
    from wherry.build.model.executor import Output, Step
    from wherry.build.model.failure import Attend, Console
    from wherry.engine.build.running import RunningSteps
    from wherry.engine.container.container import Container
    from wherry.engine.keeper.connection import KeeperConnection
    from wherry.engine.keeper.reports import ExitReport
    from wherry.engine.lifecycle.start import Starter
    from wherry.engine.lifecycle.tasks import BackgroundTasks
    from wherry.engine.network.attachments import Attachments
    from wherry.engine.network.endpoint_effects import EndpointEffects
    from wherry.engine.settings import Settings
    from wherry.oci.runtime_spec import Spec
    from wherry.runtime.cgroups import Statistics
    from wherry.runtime.compile.other_runtime import Runtime
    from wherry.runtime.plan import Plan

    Forward = Callable[[], Coroutine[Any, Any, None]]

__all__ = ["StepExecutor"]

_log: Final = logging.getLogger(__name__)
_PATIENCE: Final = 30.0  # seconds for preparations, which wait for the disk, and perhaps for a server
_DELAY: Final = 0.5  # seconds for which rubbish is collected
_END_PATIENCE: Final = 60.0  # seconds that a step's processes get to end once they are killed


@dataclass(eq=False)
class _Run:
    """One step, from its beginning to its end.

    :ivar exited: the keeper's report.
    :ivar unwanted: done as soon as nobody wants it any more.
    :ivar runtime: what carries it out instead of the keeper, because of its devices' hooks.
    :ivar over: it has ended; what a thread still makes for it goes at once.
    """

    step: Step
    container: Container
    cgroup: str
    pipes: OutputPipes | AttendedStreams
    exited: asyncio.Future[ExitReport]
    unwanted: asyncio.Future[None]
    mounts: Mounts | None = None
    pidfd: Fd | None = None
    root: Fd | None = None
    launched: bool = False
    is_known: bool = False  #: the keeper has started it, and tells of its exit
    is_fresh: bool = False  #: nothing was in its writable directory
    over: bool = False
    forwarding: asyncio.Task[None] | None = None
    spec: Spec | None = None
    runtime: Runtime | None = None
    pid: int = 0
    born: int = 0  #: in clock ticks since boot

    def end(self) -> None:
        """Nobody wants it any more: who carries it out goes on to its end at once."""
        if not self.unwanted.done():
            self.unwanted.set_result(None)

    def check_wanted(self) -> None:
        """Go no further with a step that nobody wants.

        :raises Unavailable: nobody does.
        """
        if self.unwanted.done():
            raise Unavailable("the step was cancelled")

    async def until(self, *ends: asyncio.Future[Any]) -> None:
        """Wait for the first of some ends.

        :raises Unavailable: nobody wants the step any more.
        """
        await asyncio.wait([self.unwanted, *ends], return_when=asyncio.FIRST_COMPLETED)
        self.check_wanted()


class StepExecutor:
    """Implements `wherry.build.model.executor.Executor`; used from the event loop's thread.

    :param running: tells how steps exit.
    :param starter: of containers.
    :param attachments: creates and removes the endpoints of containers.
    :param effects: has the contents of their files in /etc.
    :param tasks: its own: they have ended when it is closed.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        running: RunningSteps,
        keeper: KeeperConnection,
        starter: Starter,
        attachments: Attachments,
        effects: EndpointEffects,
        tasks: BackgroundTasks,
    ) -> None:
        self._settings = settings
        self._running = running
        self._keeper = keeper
        self._starter = starter
        self._attachments = attachments
        self._effects = effects
        self._tasks = tasks
        self._places = PlaceLayers(settings.data_root / "build" / "places")
        self._runs: dict[str, _Run] = {}
        self._carrying_out: set[asyncio.Task[StepResult]] = set()
        self._rubbish: list[_Run] = []  # steps that have ended, of which there still is something
        self._sweeping: asyncio.TimerHandle | None = None
        self._closed = False

    async def run(self, step: Step, output: Output) -> StepResult:
        """Run a step to its end; see `wherry.build.model.executor.Executor`."""
        pipes = OutputPipes()
        return await self._run(step, pipes, partial(pipes.forward, output))

    async def interact(self, step: Step, console: Console, attend: Attend) -> StepResult:
        """The same, with somebody at its standard streams."""
        streams = AttendedStreams(console)
        return await self._run(step, streams, partial(streams.attended, attend))

    async def join(self, identifier: str, process: ContainerProcess, attend: Attend) -> int:
        """Run a process in the container of a step that runs, to its end."""
        run = self._runs.get(identifier)
        if run is None or run.spec is None or not run.is_known or run.unwanted.done() or run.exited.done():
            raise Conflict("the container does not run")
        state = ContainerState(identifier, run.pid, run.born, run.spec)
        return await join(self._keeper, self._running, state, process, attend, over=run.unwanted)

    async def _run(self, step: Step, pipes: OutputPipes | AttendedStreams, forward: Forward) -> StepResult:
        try:
            run = self._new(step, pipes)
        except BaseException:
            pipes.close()
            raise
        self._runs[step.id] = run
        work = asyncio.create_task(self._carry_out(run, forward))
        self._carrying_out.add(work)
        work.add_done_callback(self._carrying_out.discard)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            await _ended(run, work)
            raise

    def _new(self, step: Step, pipes: OutputPipes | AttendedStreams) -> _Run:
        if self._closed:
            raise Unavailable("the daemon ends")
        if step.id in self._runs:
            raise Conflict(f"a step {step.id} is running")
        container = guest_of(
            step, self._directory(step.id), self._running.directory(step.id), self._keeper.try_request,
            default_network=self._attachments.default, terminal=pipes.terminal,
        )  # fmt: skip
        group, unwanted = cgroup_path(container, self._settings), asyncio.get_running_loop().create_future()
        return _Run(step, container, group, pipes, self._running.expect(step.id), unwanted)

    def _directory(self, identifier: str) -> Path:
        """For its files in /etc: emptied at the next start, like all that is unfinished."""
        return self._settings.data_root / "tmp" / f"step-{identifier}"

    async def _carry_out(self, run: _Run, forward: Forward) -> StepResult:
        """The whole of it; never cancelled, but hurried by `_Run.end`."""
        try:
            await self._begin(run)
            report = await self._follow(run, forward)
        except WherryError as error:
            await self._finish(run)
            explanation = explained(error, run.step.platform)
            if explanation is error:
                raise
            raise explanation from error
        except BaseException:
            await self._finish(run)
            raise
        cost = await self._finish(run)
        return StepResult(report.status, bool(report.oom), cost)

    # --- the start --------------------------------------------------------------------------------

    async def _begin(self, run: _Run) -> None:
        await self._keeper_is_ready(run)
        self._effects.admit(run.container)
        attachment = await self._attachments.attach(run.container)
        run.container.definition.config = attachment.config
        run.check_wanted()
        texts = self._effects.texts(run.container)
        with disk_errors("prepare the step's files"):
            what = f"prepare the step {run.step.id[:12]}"
            run.mounts = await call_bounded(what, partial(self._prepare, run, texts), _PATIENCE)
            devices = await on_the_host(run.container, self._settings.cdi_spec_dirs)
        run.check_wanted()
        await self._launch(run, self._plan(run, run.mounts, attachment.namespace, devices))
        run.mounts.close()
        run.pipes.close_theirs()

    async def _keeper_is_ready(self, run: _Run) -> None:
        """Wait for a keeper that is just being started, which may take long."""
        waiting = asyncio.create_task(self._keeper.reconciled.wait())
        try:
            await run.until(waiting)
        finally:
            waiting.cancel()

    def _prepare(self, run: _Run, texts: Mapping[str, str]) -> Mounts:
        """In a thread: what the step is going to see of the disk."""
        directory = run.container.directory
        directory.mkdir(mode=0o700)
        try:
            etc_files.write_new(directory, texts)
            with os.scandir(run.step.root.upper) as entries:
                run.is_fresh = next(entries, None) is None
            return make_mounts(run.step, directory, self._places)
        finally:
            if run.over:  # it took too long, and nobody waits for it
                remove_tree(directory)

    def _plan(self, run: _Run, mounts: Mounts, network: str | None, devices: HostDevices) -> Plan:
        run.container.definition.mounts += mounts.points
        context = SpecContext(self._settings, [mounts.root], self._starter.joined, network, devices, volatile=True)
        spec = build_spec(run.container, context)
        assert spec.process is not None
        env = environment(run.step, terminal=run.pipes.terminal)
        if devices.env:
            from wherry.engine.cdi.edits import with_variables  # noqa: PLC0415 - few steps have such devices

            env = with_variables(env, devices.env)
        process = msgspec.structs.replace(spec.process, env=env)
        run.spec = msgspec.structs.replace(spec, process=process)
        with disk_errors("write what hooks get to know of the step"):
            if has_outer_hooks(run.spec):
                run.runtime = other_runtimes.running_hooks(self._settings.exec_root)
                return other_runtimes.plan(run.container, run.spec, run.runtime, self._settings)
            manner = manner_of(run.spec, run.step.id, run.container.directory)
        return compile_spec(run.spec, container_id=run.step.id, manner=manner)

    async def _launch(self, run: _Run, plan: Plan) -> None:
        run.launched = True
        with plan_memfd(run.step.id, plan) as descriptor, Fd(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)) as null:
            given = [] if run.pipes.has_input else [null.fileno()]
            given += [fd.fileno() for fd in run.pipes.theirs]
            message = await self._keeper.request(
                "launch", [descriptor.fileno(), *given],
                key=run.step.id, container=run.step.id, kind="step",
                terminal=run.pipes.terminal, size=run.pipes.size,
            )  # fmt: skip
        owned = [Fd(fd) for fd in message.fds]
        run.root = owned.pop() if message.fields.get("root") else None
        run.pidfd, *masters = owned
        run.pipes.take_process(run.pidfd, masters)
        run.pid, run.born = message.fields["pid"], message.fields.get("birth", 0)
        run.is_known = True

    # --- while it runs ----------------------------------------------------------------------------

    async def _follow(self, run: _Run, forward: Forward) -> ExitReport:
        """Forward its output until it has exited, and what it has left in its pipes.

        It may close them and go on, or not take notice of anything: being unwanted ends each wait.
        """
        run.forwarding = asyncio.create_task(forward())
        await run.until(run.forwarding, run.exited)
        if run.forwarding.done():
            run.forwarding.result()
        await run.until(run.exited)
        report = run.exited.result()
        run.pipes.has_ended()
        await run.until(run.forwarding)
        run.forwarding.result()
        return report

    # --- the end ----------------------------------------------------------------------------------

    async def _finish(self, run: _Run) -> Cost:
        """See that nothing runs and nothing is mounted; what else there is of it goes in the background."""
        run.over = True
        if run.forwarding is not None:
            run.forwarding.cancel()
        if run.mounts is not None:
            run.mounts.close()
        try:
            return await self._end_processes(run)
        finally:
            if run.forwarding is not None:
                await asyncio.wait([run.forwarding])
            run.pipes.close()
            self._runs.pop(run.step.id, None)
            self._tasks.start(self._clean_up(run), "clean up a build step", run.container)

    async def _end_processes(self, run: _Run) -> Cost:
        if not run.launched:
            return Cost()
        if run.pidfd is None:
            await self._end_unanswered(run)
        else:
            remains.kill(run.pidfd)  # at once, however long the rest has to wait for a thread
        pidfd, root, run.pidfd, run.root = run.pidfd, run.root, None, None
        end = partial(_end, run, pidfd, root)
        return await call_bounded(f"end the step {run.step.id[:12]}", end, _END_PATIENCE)

    async def _end_unanswered(self, run: _Run) -> None:
        """The launch failed, or the keeper died over it: then the child may still be on its way, and nobody knows it.

        Without a cgroup to enter it gets no further. And it has the other ends of the pipes for as long as it lives.
        """
        run.pipes.close_theirs()
        await call_bounded(f"end the step {run.step.id[:12]}", partial(remains.bar, run.cgroup), _END_PATIENCE)
        try:
            await asyncio.wait_for(run.pipes.drained(), _END_PATIENCE)
        except TimeoutError:
            _log.warning("a build step that was not started may still be there step=%s", run.step.id)

    async def _clean_up(self, run: _Run) -> None:
        """Give back its addresses; empty directories and cgroups go together with those of the next steps.

        Their removal takes locks in the kernel that the next start needs.
        """
        try:
            await self._attachments.release(run.container)
        finally:
            self._effects.dismiss(run.container)
            if run.is_known:
                with suppress(WherryError):  # else the keeper tells later, and what is left goes then
                    await self._keeper.wait_for_exit(run.exited)
            self._running.forget(run.step.id)
            self._rubbish.append(run)
            if self._sweeping is None:
                self._sweeping = asyncio.get_running_loop().call_later(_DELAY, self._sweep)

    def _sweep(self) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
        self._sweeping = None
        runs, self._rubbish = self._rubbish, []
        if runs:
            self._tasks.start(self._remove(runs), "remove what is left of build steps")

    async def _remove(self, runs: list[_Run]) -> None:
        """Remove it; what the keeper is not told to forget, the next daemon ends."""
        try:
            gone = await call_bounded(
                "remove what is left of build steps", partial(_remove_remains, runs), _END_PATIENCE
            )
        except WherryError as error:
            _log.warning("something is left of build steps steps=%d error=%s", len(runs), error)
            return
        for run in gone:
            if run.launched:
                await self._keeper.forget(run.step.id)

    async def close(self) -> None:
        """End all steps, and wait until nothing is left of them; no more are run."""
        self._closed = True
        for run in self._runs.values():
            run.end()
        if self._carrying_out:
            await asyncio.wait(self._carrying_out)
        await self._tasks.drain()
        self._sweep()
        await self._tasks.drain()
        await asyncio.to_thread(self._places.remove)


def _remove_remains(runs: Sequence[_Run]) -> list[_Run]:
    """In a thread; those of which nothing is left."""
    gone = []
    for run in runs:
        remove_tree(run.container.directory)
        if not run.launched or remains.remove_group(run.cgroup):
            remove_tree(run.container.run_directory)
            gone.append(run)
    return gone


def _end(run: _Run, pidfd: Fd | None, root: Fd | None) -> Cost:
    """In a thread."""
    used = remains.end_processes(pidfd, root, run.cgroup, _work_of(run.step))
    if run.runtime is not None:
        other_runtimes.delete(run.step.id, run.runtime, run.cgroup)
    if run.is_fresh and run.mounts is not None:
        remove_places(run.step.root.upper, run.step.root.lower, run.mounts.places)
    return Cost() if used is None else _cost(used)


def _cost(used: Statistics) -> Cost:
    written = [count.value for count in used.io_bytes if count.operation.lower() == "write"]
    return Cost(used.cpu.usage or None, used.memory.maximum or None, sum(written) if written else None)


def _work_of(step: Step) -> list[str]:
    overlays = [step.root, *(mount.overlay for mount in step.mounts if mount.overlay is not None)]
    return [overlay.work for overlay in overlays if overlay.upper]


async def _ended(run: _Run, work: asyncio.Task[StepResult]) -> None:
    """End a step, and wait until it has ended, whoever is impatient."""
    run.end()
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError:
            continue
    if not work.cancelled():
        work.exception()  # it does not matter any more how it ended
