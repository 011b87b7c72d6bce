"""``wherry-oci exec``: execute a process in a container."""

from __future__ import annotations

from msgspec.structs import replace

from wherry.errors import Conflict, InvalidInput, WherryError
from wherry.oci.runtime_spec import Capabilities, Process, Spec, User, decode_process
from wherry.ociruntime.bundle import read_json
from wherry.ociruntime.call import Call
from wherry.ociruntime.console import check_socket
from wherry.ociruntime.container import Container, Record
from wherry.ociruntime.entering import compiled, enter, spec_of
from wherry.ociruntime.flags import Flags, parse
from wherry.ociruntime.foreground import Signals, wait
from wherry.ociruntime.making import preserved_descriptors, write_pid_file

__all__ = ["ARGUMENTS", "FLAGS", "run"]

FLAGS = {
    "console-socket": True,
    "pidfd-socket": True,
    "cwd": True,
    "env": True,
    "tty": False,
    "user": True,
    "additional-gids": True,
    "process": True,
    "detach": False,
    "pid-file": True,
    "process-label": True,
    "apparmor": True,
    "no-new-privs": False,
    "no-new-keyring": False,
    "cap": True,
    "preserve-fds": True,
    "cgroup": True,
    "ignore-paused": False,
}
ARGUMENTS = "ID PROGRAM [ARGUMENT...]"
_SHORT = {"e": "env", "t": "tty", "u": "user", "g": "additional-gids", "p": "process", "d": "detach", "c": "cap"}
#: What runc leaves with when nothing was executed.
_NOT_EXECUTED = 255


def run(call: Call, arguments: list[str]) -> int:
    """Execute it. :returns: its exit code, or 128 and the number of the signal that ended it."""
    flags, rest = parse(arguments, FLAGS, short=_SHORT, mixed=False)
    if not rest:
        raise InvalidInput('"exec" requires a container ID')
    try:
        return _run(call, flags, rest[0], rest[1:])
    except WherryError as error:
        call.log.failure(f"exec failed: unable to start container process: {error}")
        return _NOT_EXECUTED


def _run(call: Call, flags: Flags, name: str, args: list[str]) -> int:
    with Container.open(call.root, name, lock=False) as container:
        record = container.read()
        _check(record, flags)
        spec = spec_of(container)
    process = _process(flags, spec, args)
    detach = flags.is_on("detach")
    check_socket(flags.text("console-socket"), terminal=process.terminal, detach=detach)
    preserved = preserved_descriptors(flags)
    plan = compiled(
        record,
        spec,
        process,
        keyring=not flags.is_on("no-new-keyring"),
        preserved=preserved,
        cgroup=flags.text("cgroup"),
    )
    arrived = None if detach else Signals()
    started = enter(
        plan,
        console_socket=flags.text("console-socket"),
        pidfd_socket=flags.text("pidfd-socket"),
        preserved=preserved,
    )
    if path := flags.text("pid-file"):
        try:
            write_pid_file(path, started.pid)
        except BaseException:
            started.kill()
            raise
    if arrived is None:
        return 0
    return wait(started.pid, started.pidfd, started.master, arrived)


def _check(record: Record, flags: Flags) -> None:
    status = record.status()
    if status in ("stopped", "creating"):
        raise Conflict(f"cannot exec in a {status} container" if status == "creating" else "container not running")
    if status == "paused" and not flags.is_on("ignore-paused"):
        raise Conflict("cannot exec in a paused container (use --ignore-paused to override)")


def _process(flags: Flags, spec: Spec, args: list[str]) -> Process:
    if path := flags.text("process"):
        try:
            return decode_process(read_json(path))
        except FileNotFoundError:
            raise InvalidInput(f"there is no file {path!r}") from None
    if not args:
        raise InvalidInput("process args cannot be empty")
    if spec.process is None:
        raise InvalidInput("the container has no process")
    return _changed(spec.process, flags, args)


def _changed(base: Process, flags: Flags, args: list[str]) -> Process:
    """The container's own process, with other arguments and what the flags say."""
    process = replace(base, args=tuple(args), terminal=flags.is_on("tty"), env=(*base.env, *flags.texts("env")))
    process = replace(process, user=_user(base.user, flags))
    if flags.has("cwd"):
        process = replace(process, cwd=flags.text("cwd"))
    if flags.has("process-label"):
        process = replace(process, selinux_label=flags.text("process-label"))
    if flags.has("apparmor"):
        process = replace(process, apparmor_profile=flags.text("apparmor"))
    if flags.has("no-new-privs"):
        process = replace(process, no_new_privileges=flags.is_on("no-new-privs"))
    if not process.terminal:
        process = replace(process, console_size=None)
    if extra := tuple(flags.texts("cap")):
        process = replace(process, capabilities=_with(base.capabilities or Capabilities(), extra))
    return process


def _user(base: User, flags: Flags) -> User:
    user = base
    if flags.has("user"):
        uid, colon, gid = flags.text("user").partition(":")
        if not uid.isdigit() or (colon and not gid.isdigit()):
            raise InvalidInput(f"{flags.text('user')!r} is not of the form UID[:GID]")
        user = replace(user, uid=int(uid), gid=int(gid) if colon else user.gid, username="")
    groups = [one for text in flags.texts("additional-gids") for one in text.split(",")]
    if not all(one.isdigit() for one in groups):
        raise InvalidInput("--additional-gids takes numbers")
    return replace(user, additional_gids=(*user.additional_gids, *map(int, groups)))


def _with(own: Capabilities, extra: tuple[str, ...]) -> Capabilities:
    """What runc does with ``--cap``: into all sets, and ambient where inheritable ones are."""
    return Capabilities(
        bounding=(*own.bounding, *extra),
        effective=(*own.effective, *extra),
        permitted=(*own.permitted, *extra),
        inheritable=own.inheritable,
        ambient=(*own.ambient, *(one for one in extra if one in own.inheritable)),
    )
