"""Compile a container, or an exec, of another OCI runtime: its root is mounted here, and all else is the runtime's.

What only wherry's own runtime knows is refused, or done here: names of users are looked up, and annotations and
options of ours are left out or refused. Wherry's own runtime as a command gets all of it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from wherry.errors import InvalidInput, Unsupported
from wherry.linux.mount import MS
from wherry.linux.process import CLONE
from wherry.oci.runtime_spec import Mount, Process, Spec, encode
from wherry.runtime.compile import mount_options
from wherry.runtime.compile import mounts as compile_mounts
from wherry.runtime.compile import process as compile_process
from wherry.runtime.plan import OtherRuntime, Plan
from wherry.runtime.steps import init
from wherry.runtime.steps.namespaces import AwaitParent
from wherry.runtime.steps.other_runtime import RootOfProcess, RunRuntime, WriteForRuntime
from wherry.runtime.steps.rootfs import SeparateHost
from wherry.runtime.steps.step import Step

__all__ = ["Runtime", "compile_other", "compile_other_exec"]

#: The version of the specification that all runtimes take.
_VERSION = "1.0.2"
_OURS = "org.wherry."
_EXTENSIONS = {"own", "detached"}
_INIT_INSIDE = "/sbin/docker-init"


class Runtime(NamedTuple):
    """An OCI runtime as the operator has added it.

    :ivar name: by which containers ask for it.
    :ivar path: of the program; absolute.
    :ivar arguments: before its verbs.
    :ivar state: the directory that is its ``--root``.
    :ivar is_own: it is wherry's own, and knows what is in no specification.
    """

    name: str
    path: str
    arguments: tuple[str, ...]
    state: str
    is_own: bool = False

    def command(self, verb: str, *arguments: str, log: str = "") -> tuple[str, ...]:
        """A command line of it."""
        logged = ("--log", log, "--log-format", "json") if log else ()
        return (self.path, *self.arguments, "--root", self.state, *logged, verb, *arguments)


class _Files(NamedTuple):
    """Where one start has its files."""

    directory: str
    prefix: str

    def __truediv__(self, name: str) -> str:
        return f"{self.directory}/{self.prefix}{name}"


def compile_other(
    spec: Spec, *, container_id: str, runtime: Runtime, directory: str, console: str,
    environment: tuple[str, ...] = (), init_program: str = "",
) -> Plan:  # fmt: skip
    """Turn a specification into a plan that has another runtime carry it out.

    :param directory: becomes the bundle; only root may enter it.
    :param console: path of a socket to be made, for a terminal.
    :param environment: of the runtime itself.
    :param init_program: a path or a name in ``PATH``: what is the container's first process where an init process is
        asked for, as wherry's own is built into its own runtime.
    :raises InvalidInput: the specification asks for what cannot be.
    :raises Unsupported: it asks for what only wherry's runtime does.
    """
    if not runtime.is_own:
        _refuse(spec, runtime)
        spec = _with_init(spec, init_program)
    process, linux = spec.process, spec.linux
    if spec.root is None or process is None or linux is None:
        raise InvalidInput("the specification has no root, process or linux")
    compile_process.check(process)
    files = _Files(directory, "")
    terminal = (("--console-socket", console)) if process.terminal else ()
    create = runtime.command(
        "create", "--bundle", directory, "--pid-file", files / "pid", *terminal, container_id, log=files / "log"
    )
    start = runtime.command("start", container_id, log=files / "log")
    return Plan(
        namespaces=int(CLONE.NEWNS),
        environment=compile_process.environment(process),
        other=OtherRuntime(
            runtime.name, files / "pid", files / "log", console if process.terminal else "",
            starts=True, cgroup=linux.cgroups_path, removal=runtime.command("delete", "--force", container_id),
        ),
        steps=(
            AwaitParent(),
            SeparateHost(int(MS.SLAVE | MS.REC), spec.root.path),
            compile_mounts.root_step(spec.root, spec.mounts),
            *_user(process, spec.annotations),
            WriteForRuntime(files / "config.json", _document(spec, runtime), "process"),
            RunRuntime(create, start, _environment(environment)),
        ),
    )  # fmt: skip


def compile_other_exec(
    process: Process, *, container_id: str, pid: int, spec: Spec, runtime: Runtime, directory: str, name: str,
    console: str, environment: tuple[str, ...] = (),
) -> Plan:  # fmt: skip
    """Turn a process to be executed in such a container into a plan.

    :param pid: the container's process.
    :param name: of this exec, for its files.
    """
    first = spec.process
    if first is not None and process.capabilities is None:
        rights = {"capabilities": first.capabilities, "no_new_privileges": first.no_new_privileges}
        process = replace(process, **rights)
    compile_process.check(process)
    files = _Files(directory, f"{name}-")
    terminal = (("--console-socket", console)) if process.terminal else ()
    command = runtime.command(
        "exec", "--detach", "--process", files / "process.json", "--pid-file", files / "pid", *terminal, container_id,
        log=files / "log",
    )  # fmt: skip
    return Plan(
        environment=compile_process.environment(process),
        other=OtherRuntime(
            runtime.name, files / "pid", files / "log", console if process.terminal else "",
            starts=False, cgroup="", removal=(),
        ),
        steps=(
            AwaitParent(),
            RootOfProcess(pid),
            *_user(process, spec.annotations),
            WriteForRuntime(files / "process.json", msgspec.json.encode(_plain(process)), ""),
            RunRuntime(command, (), _environment(environment)),
        ),
    )  # fmt: skip


def _user(process: Process, annotations: dict[str, str]) -> Iterator[Step]:
    yield from compile_process.user_steps(replace(process, terminal=False), annotations)


def _environment(given: tuple[str, ...]) -> tuple[str, ...]:
    return given if any(entry.startswith("PATH=") for entry in given) else (*given, f"PATH={_PATH}")


_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def _plain(process: Process) -> Process:
    return replace(process, user=replace(process.user, username=""))


def _refuse(spec: Spec, runtime: Runtime) -> None:
    hint = f"the runtime {runtime.name!r} does not know it"
    if spec.linux is not None and any(one.type == "user" for one in spec.linux.namespaces):
        raise Unsupported("a container in a user namespace needs wherry's own runtime", hint=hint)
    for mount in spec.mounts[1:]:
        parsed = mount_options.parse(mount.options)
        ours = parsed.extensions & _EXTENSIONS or any(key.startswith(_OURS) for key, _ in parsed.data)
        if ours:
            raise Unsupported(f"what is mounted on {mount.destination!r} needs wherry's own runtime", hint=hint)


def _with_init(spec: Spec, program: str) -> Spec:
    """The specification with the init process as a program in the container, as dockerd has it."""
    if spec.annotations.get(init.ANNOTATION) != "true" or spec.process is None:
        return spec
    path = shutil.which(program)
    if path is None:
        hint = "under another runtime than wherry's own the init process is a program: give wherryd --init-path"
        raise Unsupported(f'exec: "{program}": executable file not found in $PATH', hint=hint)
    mount = Mount(_INIT_INSIDE, "bind", path, ("bind", "ro"))
    arguments = (_INIT_INSIDE, "--", *spec.process.args)
    return replace(spec, mounts=(*spec.mounts, mount), process=replace(spec.process, args=arguments))


def _document(spec: Spec, runtime: Runtime) -> bytes:
    """The specification with its root mounted, its user looked up, and for others without what is wherry's own."""
    linux = spec.linux
    assert spec.process is not None
    assert linux is not None
    spec = replace(
        spec, mounts=tuple(mount for mount in spec.mounts if mount.destination != "/"), process=_plain(spec.process)
    )
    if runtime.is_own:
        return encode(spec)
    seccomp = linux.seccomp and replace(linux.seccomp, keeps_projects=False)
    plain = replace(
        spec,
        oci_version=_VERSION,
        annotations={name: value for name, value in spec.annotations.items() if not name.startswith(_OURS)},
        linux=replace(linux, seccomp=seccomp),
    )
    return encode(plain)
