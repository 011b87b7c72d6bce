"""Real containers for the tests of the runtime: a file system made of one static busybox, run by our runtime or by
runc.

A test describes what differs from an ordinary container, runs a shell line in it and looks at what it printed.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

import quiet
from machine import static_busybox
from wherry.errors import SystemCallError
from wherry.linux.fd import Fd
from wherry.linux.proc import start_time
from wherry.linux.process import pidfd_send_signal
from wherry.oci.runtime_spec import (
    Capabilities,
    Linux,
    Mount,
    Namespace,
    Process,
    Root,
    Spec,
    User,
    encode,
)
from wherry.runtime.cgroups.scope import Scope
from wherry.runtime.compile.exec import ContainerState, compile_exec
from wherry.runtime.compile.spec import compile_spec
from wherry.runtime.launch import launch
from wherry.runtime.launch.prefork import Prefork
from wherry.runtime.plan import Plan
from wherry.runtime.report import Born, Executed, Failed, NotYet, Report, Terminal
from wherry.runtime.report import Root as RootMount

PROGRAMS = (
    "sh ls cat id true false mount ps echo env sleep pwd hostname stat touch mkdir mknod rm ln chmod chown kill grep "
    "head dd sync tr cut wc readlink ip umount tty test printf sed awk setsid df nproc date sort find"
).split()
DOCKER_CAPABILITIES = tuple(
    f"CAP_{name}"
    for name in (
        "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL "
        "AUDIT_WRITE"
    ).split()
)
ORDINARY_MOUNTS = (
    Mount(destination="/proc", type="proc", source="proc", options=("nosuid", "noexec", "nodev")),
    Mount(
        destination="/dev", type="tmpfs", source="tmpfs", options=("nosuid", "strictatime", "mode=755", "size=65536k")
    ),
    Mount(
        destination="/dev/pts",
        type="devpts",
        source="devpts",
        options=("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
    ),
    Mount(destination="/sys", type="sysfs", source="sysfs", options=("nosuid", "noexec", "nodev", "ro")),
)
NAMESPACES: tuple[Any, ...] = ("mount", "pid", "uts", "ipc", "network")
ORDINARY_NAMESPACES = tuple(Namespace(type=kind) for kind in NAMESPACES)
TIMEOUT = quiet.patience(20)
_numbers = itertools.count(1)


class Result(NamedTuple):
    """How a container ended; ``failure`` is what its child reported if its program was never executed."""

    status: int
    out: str
    err: str
    failure: Failed | None = None

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


class Running(NamedTuple):
    """A container that runs, with what it was made by."""

    launched: launch.Launched
    plan: Plan
    spec: Spec
    name: str
    terminal: Fd | None

    @property
    def pid(self) -> int:
        return self.launched.pid

    def state(self) -> ContainerState:
        started = start_time(self.pid)
        assert started is not None
        return ContainerState(self.name, self.pid, started, self.spec, cgroup=self.plan.cgroup)


class Box:
    """A directory with an image's layer, a writable layer and a place for the root."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.layer = directory / "layer"
        self.upper = directory / "writable" / "upper"
        self.work = directory / "writable" / "work"
        self.rootfs = directory / "rootfs"
        for path in (self.layer / "bin", self.layer / "etc", self.layer / "tmp", self.upper, self.work, self.rootfs):
            path.mkdir(parents=True)
        self._install_busybox()
        self.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nann:x:1000:100:Ann:/home/ann:/bin/sh\n")
        self.write("etc/group", "root:x:0:\nusers:x:100:\naudio:x:29:ann\nvideo:x:44:ann,root\n")

    def _install_busybox(self) -> None:
        busybox = static_busybox()
        assert busybox is not None
        shutil.copy(busybox, self.layer / "bin/busybox")
        for program in PROGRAMS:
            (self.layer / "bin" / program).symlink_to("busybox")

    def write(self, name: str, text: str, mode: int = 0o644) -> Path:
        """Put a file into the image."""
        path = self.layer / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    # ------------------------------------------------------------------------------------------------- specifications

    def overlay(self, *options: str) -> Mount:
        """The root's mount."""
        own = (f"lowerdir+={self.layer}", f"upperdir={self.upper}", f"workdir={self.work}")
        return Mount(destination="/", type="overlay", options=(*own, *options))

    def spec(self, command: str | list[str], **changes: Any) -> Spec:
        """An ordinary container's specification.

        ``process``, ``linux`` and ``spec`` are what to change in these parts; ``mounts`` are added to the ordinary
        ones.
        """
        args = ("sh", "-c", command) if isinstance(command, str) else tuple(command)
        held = DOCKER_CAPABILITIES
        process = {
            "cwd": "/",
            "args": args,
            "env": ("PATH=/bin:/sbin",),
            "user": User(),
            "capabilities": Capabilities(bounding=held, effective=held, permitted=held),
            **changes.get("process", {}),
        }
        mounts = (changes.get("root", self.overlay()), *ORDINARY_MOUNTS, *changes.get("mounts", ()))
        linux = {"namespaces": ORDINARY_NAMESPACES, "cgroups_path": self.cgroup, **changes.get("linux", {})}
        more = changes.get("spec", {})
        return Spec(
            root=more.pop("root", Root(path=str(self.rootfs))),
            mounts=mounts,
            process=Process(**process),
            linux=Linux(**linux),
            **more,
        )

    @property
    def cgroup(self) -> str:
        """A control group that no other test has."""
        return f"/wherry-test-{os.getpid()}-{next(_numbers)}"

    # --------------------------------------------------------------------------------------------------------- running

    def run(self, command: str | list[str], **changes: Any) -> Result:
        """Run an ordinary container, changed as for :meth:`spec`, to its end."""
        return self.run_spec(self.spec(command, **changes))

    def run_spec(self, spec: Spec) -> Result:
        """Run a container to its end."""
        plan = Plan.decode(compile_spec(spec, container_id=f"box{next(_numbers)}").encode())
        return finish(plan)

    @contextmanager
    def running(self, command: str | list[str], *, scope: Scope | None = None, **changes: Any) -> Iterator[Running]:
        """Keep a container running meanwhile; its streams are /dev/null unless it has a terminal.

        :param scope: the unit of systemd's that it is.
        """
        spec = self.spec(command, **changes)
        name = f"box{next(_numbers)}"
        plan = Plan.decode(compile_spec(spec, container_id=name, scope=scope).encode())
        with open(os.devnull, "r+b", buffering=0) as null:
            streams = None if plan.terminal else (null.fileno(),) * 3
            started = launch.launch(plan, streams)
        master: Fd | None = None
        try:
            report, master = await_program(started)
            assert isinstance(report, Executed), report
            yield Running(started, plan, spec, name, master)
        finally:
            end(started)
            launch.cleanup(plan)

    def exec(self, running: Running, command: str | list[str], **process: Any) -> Result:
        """Execute something in a running container, to its end."""
        args = ("sh", "-c", command) if isinstance(command, str) else tuple(command)
        wanted = Process(**{"cwd": "/", "args": args, "env": ("PATH=/bin:/sbin",), **process})
        return finish(Plan.decode(compile_exec(wanted, state=running.state()).encode()))

    def run_with_runc(self, spec: Spec, runc: str) -> Result:
        """Run the same by runc, with a plain directory as root: a bind of the layer."""
        bundle = self.directory / f"bundle{next(_numbers)}"
        bundle.mkdir()
        root = Root(path=str(self.layer), readonly=spec.root.readonly if spec.root else False)
        plain = msgspec.structs.replace(spec, root=root, mounts=spec.mounts[1:])
        (bundle / "config.json").write_bytes(encode(plain))
        command = [
            runc,
            "--root",
            str(self.directory / "runc"),
            "run",
            "-b",
            str(bundle),
            bundle.name + str(os.getpid()),
        ]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=TIMEOUT, stdin=subprocess.DEVNULL
        )
        return Result(done.returncode, done.stdout, done.stderr)


def await_program(started: launch.Launched) -> tuple[Report, Fd | None]:
    """Wait until the program runs or the child has failed."""
    master: Fd | None = None
    deadline = time.monotonic() + TIMEOUT
    while True:
        ready, _, _ = select.select([started.fileno()], [], [], max(0, deadline - time.monotonic()))
        assert ready, "the child says nothing"
        report = started.report()
        if isinstance(report, Terminal):
            master = report.master
        elif isinstance(report, RootMount):
            report.mount.close()
        elif not isinstance(report, NotYet | Born):
            return report, master


def finish(plan: Plan, prefork: Prefork | None = None) -> Result:
    """Launch a plan and wait for its end, collecting what it prints.

    :param prefork: may have a child ready for it.
    """
    with open(os.devnull, "rb") as null:
        pipes = [os.pipe(), os.pipe()]
        streams = None if plan.terminal else (null.fileno(), pipes[0][1], pipes[1][1])
        try:
            started = launch.launch(plan, streams, prefork=prefork, encoded=plan.encode())
        finally:
            for _, writing in pipes:
                os.close(writing)
    try:
        report, master = await_program(started)
        sources = [master.fileno()] if master is not None else [reading for reading, _ in pipes]
        texts = read_all(sources)
        status = os.waitpid(started.pid, 0)[1]
    finally:
        for reading, _ in pipes:
            os.close(reading)
        started.pidfd.close()
        started.channel.close()
        launch.cleanup(plan)
    out, err = texts if len(texts) == 2 else (texts[0], "")
    return Result(exit_code(status), out, err, report if isinstance(report, Failed) else None)


def exit_code(status: int) -> int:
    """As a shell says it."""
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def read_all(sources: list[int]) -> list[str]:
    """Read descriptors to their end; a terminal's end is an error of the kernel's."""
    found = dict.fromkeys(sources, b"")
    left = list(sources)
    deadline = time.monotonic() + TIMEOUT
    while left:
        ready, _, _ = select.select(left, [], [], max(0, deadline - time.monotonic()))
        assert ready, f"the container does not end; so far: {found}"
        for source in ready:
            try:
                data = os.read(source, 65536)
            except OSError:
                data = b""
            found[source] += data
            if not data:
                left.remove(source)
    return [found[source].decode(errors="replace") for source in sources]


def end(started: launch.Launched) -> int | None:
    """Kill a container's first process, and with it all others; return its exit code, None if that is known already."""
    with contextlib.suppress(SystemCallError):  # it has ended
        pidfd_send_signal(started.pidfd, signal.SIGKILL)
    try:
        return exit_code(os.waitpid(started.pid, 0)[1])
    except ChildProcessError:
        return None
    finally:
        started.pidfd.close()
        started.channel.close()
