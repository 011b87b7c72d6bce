"""Make a running container of an image."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Final, NamedTuple

from wherry.errors import Forbidden, InvalidInput, SystemFault, WherryError
from wherry.linux.fd import Fd
from wherry.linux.namespaces import open_namespace
from wherry.linux.proc import descendants
from wherry.linux.process import CLONE, setns
from wherry.oci.runtime_spec import Spec
from wherry.runtime import cgroups
from wherry.runtime.criu import image
from wherry.runtime.criu.common import Common
from wherry.runtime.criu.confined import check
from wherry.runtime.criu.dump import OUTER_NETWORK, OUTER_PIDS
from wherry.runtime.criu.messages import Kind, Options, Response
from wherry.runtime.criu.session import Session, find
from wherry.runtime.criu.staging import Stage
from wherry.runtime.launch import launch
from wherry.runtime.plan import Plan

__all__ = ["Restored", "Wanted", "restore"]

_LOG: Final = "restore.log"
_OUTER: Final = {"network": ("net", OUTER_NETWORK), "pid": ("pid", OUTER_PIDS)}


class Wanted(NamedTuple):
    """How it is to be done; the names are those of runc's flags.

    :ivar stage: a directory that is covered meanwhile, in another mount namespace.
    :ivar tcp_close: connections that were established are closed.
    """

    common: Common
    stage: str
    tcp_close: bool = False
    lsm_profile: str = ""
    lsm_mount_context: str = ""


class Restored(NamedTuple):
    """A container that runs again; its first process is a child of this one.

    :ivar master: of its terminal, or None.
    """

    pid: int
    master: Fd | None


def restore(
    spec: Spec,
    plan: Plan,
    wanted: Wanted,
    *,
    streams: Sequence[int] = (0, 1, 2),
    namespaces_made: Callable[[int], None] = lambda pid: None,
    before_it_runs: Callable[[int], None] = lambda pid: None,
) -> Restored:
    """Make a container of an image.

    The process must have one thread: it changes its mount namespace for a while.

    :param plan: what the specification was compiled to.
    :param streams: what takes the place of the standard streams, unless they were files of the container's.
    :param namespaces_made: called with its first process, when its namespaces are there.
    :param before_it_runs: called when all is there, and nothing goes on yet.
    :raises NotFound: there is no such image.
    :raises CorruptData: it is none, or another container's.
    :raises Forbidden: it has more rights than the specification gives.
    :raises Unsupported: there is no criu.
    :raises SystemFault: criu could not do it; nothing is left.
    """
    program = find(wanted.common.criu)
    images_path = wanted.common.images
    with ExitStack() as held:
        with image.opened(images_path, "image") as images:
            _check_image(images, images_path)
            known, streams_before = image.read_external(images), image.read_streams(images)
        options = _options(spec, wanted)
        inherited = _outer_namespaces(spec, options, held)
        inherited += _streams(streams_before, options, streams, held)
        home = held.enter_context(open_namespace(os.getpid(), "mnt"))
        try:
            stage = held.enter_context(Stage(plan, wanted.stage, known))
            # criu works in these directories, and so they have to be of its mount namespace.
            images = held.enter_context(image.opened(images_path, "image"))
            work = held.enter_context(
                image.opened(wanted.common.work_directory, "work directory", make=True, links=True)
            )
            options.plain |= {"root": stage.root, "images_dir_fd": images.fileno(), "work_dir_fd": work.fileno()}
            options.ext_mnt = sorted(stage.sources.items())
            session = held.enter_context(Session(program, inherited))
        finally:
            setns(home, CLONE.NEWNS)  # hooks see the host's mounts
        restoration = _Restoration(spec, plan, namespaces_made, before_it_runs)
        return restoration.run(session, options, work, images, wanted.common.patience)


def _check_image(images: Fd, path: str) -> None:
    if not os.access("inventory.img", os.F_OK, dir_fd=images.fileno(), follow_symlinks=False):
        raise InvalidInput(f"there is no checkpoint in {path!r}")


class _Restoration:
    """From the request to the container that runs."""

    def __init__(
        self,
        spec: Spec,
        plan: Plan,
        namespaces_made: Callable[[int], None],
        before_it_runs: Callable[[int], None],
    ) -> None:
        self._spec: Final = spec
        self._plan: Final = plan
        self._group: Final = launch.ControlGroup(plan._replace(steps=()))
        self._cgroup: Final = cgroups.open(plan.cgroup)
        self._namespaces_made: Final = namespaces_made
        self._before_it_runs: Final = before_it_runs
        self._master: Fd | None = None
        self._pid = 0
        self._is_checked = False

    def run(self, session: Session, options: Options, work: Fd, images: Fd, patience: float) -> Restored:
        try:
            self._group.take_in(session.pid)
            if self._group.directory is not None:  # born in the group, were it born now
                self._cgroup.add(session.pid)
            options.cg_root = _groups_of(session.pid)
            response = session.ask(
                Kind.RESTORE,
                options,
                work=work.fileno(),
                images=images.fileno(),
                notified=self._notified,
                patience=patience,
            )
            self._expect_checked(response)
        except BaseException:
            self._undo()
            raise
        finally:
            self._group.close()
        return Restored(response.pid, self._master)

    def _expect_checked(self, response: Response) -> None:
        if response.pid <= 0 or not self._is_checked:
            raise SystemFault("criu has restored nothing, or does not say what")

    def _notified(self, response: Response, fds: list[Fd]) -> None:
        if response.script == "orphan-pts-master" and fds:
            self._master = fds.pop()
        elif response.script == "setup-namespaces":
            self._namespaces_made(response.pid)
        elif response.script == "post-restore":
            self._pid = response.pid
            self._before_it_runs(response.pid)
        elif response.script == "pre-resume":
            self._check()
        for fd in fds:
            fd.close()

    def _check(self) -> None:
        """All have their rights, and nothing goes on yet; whoever may not, never does: criu does not heed an error."""
        try:
            check(self._pid, self._spec, self._plan)
            self._is_checked = True
        except BaseException as error:
            for pid in descendants(self._pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if isinstance(error, OSError):
                cause = (error.strerror or "").lower()
                raise Forbidden("what was restored cannot be looked into", cause=cause) from error
            raise

    def _undo(self) -> None:
        """End whatever is there already, and remove the control group."""
        with suppress(WherryError):
            cgroups.end_all(self._cgroup)
        _reap()
        if self._master is not None:
            self._master.close()
        self._group.undo()


def _reap() -> None:
    """The restored process is a child of this one; criu itself is waited for elsewhere."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue


def _options(spec: Spec, wanted: Wanted) -> Options:
    options = wanted.common.options(_LOG)
    options.plain |= {
        "evasive_devices": True,
        "rst_sibling": True,
        "tcp_close": wanted.tcp_close,
        "orphan_pts_master": spec.process is not None and spec.process.terminal,
        "lsm_profile": wanted.lsm_profile,
        "lsm_mount_context": wanted.lsm_mount_context,
    }
    return options


def _outer_namespaces(spec: Spec, options: Options, held: ExitStack) -> list[int]:
    """Open the namespaces that the container joins instead of having them from the image."""
    numbers = []
    for one in spec.linux.namespaces if spec.linux else ():
        if one.path and one.type in _OUTER:
            kind, key = _OUTER[one.type]
            numbers.append(held.enter_context(open_namespace(one.path, kind)).fileno())
            options.inherit_fd.append((key, numbers[-1]))
    return numbers


def _streams(before: list[str], options: Options, streams: Sequence[int], held: ExitStack) -> list[int]:
    """Duplicate the streams that take the place of pipes and files which were not the container's."""
    numbers: list[int] = []
    for name, stream in zip(before, streams, strict=False):
        if name.startswith(("pipe:[", "file[")) and name not in dict(options.inherit_fd):
            numbers.append(held.enter_context(Fd(os.dup(stream))).fileno())
            options.inherit_fd.append((name, numbers[-1]))
    return numbers


def _groups_of(pid: int) -> list[tuple[str, str]]:
    """Where a process is, for each hierarchy: its controllers and the path (cgroups(7))."""
    with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="surrogateescape") as file:
        rows = [line.rstrip("\n").split(":", 2) for line in file]
    return [(controllers, path) for _, controllers, path in rows]
