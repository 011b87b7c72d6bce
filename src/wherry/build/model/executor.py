"""The executor: runs one step in a container. The engine implements it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from msgspec import Struct

from wherry.build.model.container import ContainerProcess
from wherry.build.model.failure import Attend, Console
from wherry.build.model.graph import ExecOp
from wherry.build.model.progress import Cost
from wherry.layers.overlay_paths import OverlayMount
from wherry.oci.platform import Platform

__all__ = ["Executor", "Limits", "Output", "Step", "StepMount", "StepResult"]

Output = Callable[[int, bytes], Awaitable[None]]
"""Takes output: the stream, 1 or 2, and bytes. The step waits while it is not taken."""


class Limits(Struct, frozen=True):
    """A build's limits of each step; not part of a cache key. Memory in bytes, 0 or empty: no limit."""

    memory: int = 0
    memory_swap: int = 0
    cpu_shares: int = 0
    cpu_period: int = 0
    cpu_quota: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""


class StepMount(Struct, frozen=True):
    """Something that is mounted over a step's root, in this order.

    :param target: where, in the container.
    :param kind: ``overlay``, ``bind`` (of a directory, file or socket of this machine) or ``tmpfs``.
    :param overlay: of an overlay.
    :param source: of a bind: the path, on this machine.
    :param selector: which path inside of it is mounted; resolved by the kernel inside, and never out of it.
    :param options: further ones of mount(2), as in an OCI runtime specification: ``size=65536``, ``mode=0700``.
    """

    target: str
    kind: str
    overlay: OverlayMount | None = None
    source: str = ""
    selector: str = ""
    readonly: bool = False
    options: tuple[str, ...] = ()


class Step(Struct, frozen=True, kw_only=True):
    """A command to run: everything that is mounted has been prepared.

    :param id: 64 hexadecimal digits, unique.
    :param root: its upper directory becomes the layer.
    :param env: with the values of secrets and proxies.
    """

    id: str
    op: ExecOp
    root: OverlayMount
    env: tuple[str, ...]
    mounts: tuple[StepMount, ...] = ()
    platform: Platform | None = None
    limits: Limits = Limits()
    readonly: bool = False


class StepResult(Struct, frozen=True):
    """How a step ended.

    :param out_of_memory: whether the kernel ended something in it for lack of memory.
    """

    exit_code: int
    out_of_memory: bool = False
    cost: Cost = Cost()


class Executor(Protocol):
    """Runs steps.

    What it needs in a step's root, places for mounts for one, it lays below the root's layers: nothing of that is in
    the writable directory afterwards, as far as that was empty before. The work directory is empty again.
    """

    async def run(self, step: Step, output: Output) -> StepResult:
        """Run a step to its end: when it returns or raises, no process of it runs and nothing of it is mounted.

        Being cancelled ends the step's processes at once.

        :raises CommandNotFound: there is no such program in its root.
        :raises CommandNotExecutable: it cannot be executed.
        :raises WherryError: the machine refused.
        """
        ...

    async def interact(self, step: Step, console: Console, attend: Attend) -> StepResult:
        """The same, with somebody at its standard streams.

        :raises Unavailable: he left before the step had ended.
        """
        ...

    async def join(self, identifier: str, process: ContainerProcess, attend: Attend) -> int:
        """Run a process in the container of a step that runs, to its end; returns its exit code.

        It ends with the step. Being cancelled ends it. Secrets are in its environment already.

        :raises Conflict: the step does not run.
        :raises WherryError: as `run`.
        """
        ...
