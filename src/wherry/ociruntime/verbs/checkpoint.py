"""``wherry-oci checkpoint``: write a running container into an image, by criu."""

from __future__ import annotations

import os

from wherry.errors import Conflict, InvalidInput, Unsupported
from wherry.ociruntime.call import Call, one_argument
from wherry.ociruntime.container import Container, Record
from wherry.ociruntime.entering import spec_of
from wherry.ociruntime.flags import Flags, parse
from wherry.ociruntime.verbs.delete import delete
from wherry.runtime.cgroups.scope import Scope
from wherry.runtime.compile.manner import Manner
from wherry.runtime.compile.spec import compile_spec
from wherry.runtime.criu.dump import CGROUP_MODES, EMPTY_NAMESPACES, Target, Wanted, dump

__all__ = [
    "ARGUMENTS",
    "AS_IT_RUNS",
    "FLAGS",
    "SHARED_FLAGS",
    "cgroup_mode",
    "empty_namespaces",
    "refuse_lazy_pages",
    "run",
    "target_of",
]

#: How a container is compiled that is not born, but is there, or comes of an image: nobody runs hooks inside.
AS_IT_RUNS = Manner(apart=True, state=b"{}")
#: These ``restore`` has as well.
SHARED_FLAGS = {
    "image-path": True,
    "work-path": True,
    "tcp-established": False,
    "ext-unix-sk": False,
    "shell-job": False,
    "lazy-pages": False,
    "file-locks": False,
    "manage-cgroups-mode": True,
    "empty-ns": True,
    "auto-dedup": False,
}
FLAGS = {
    **SHARED_FLAGS,
    "parent-path": True,
    "leave-running": False,
    "status-fd": True,
    "page-server": True,
    "pre-dump": False,
}
ARGUMENTS = "ID"


def run(call: Call, arguments: list[str]) -> int:
    """Write it."""
    flags, rest = parse(arguments, FLAGS)
    refuse_lazy_pages(flags)
    with Container.open(call.root, one_argument(rest, "checkpoint")) as container:
        record = container.read()
        status = record.status()
        if status not in ("running", "paused"):
            raise Conflict(f"container cannot be checkpointed in {status} state")
        wanted = _wanted(call, flags)
        dump(target_of(container, record), wanted)
        if not wanted.leave_running and not wanted.pre_dump:
            delete(call, container, record, record.status())
    return 0


def target_of(container: Container, record: Record) -> Target:
    """Return a container as it is to be written."""
    spec = spec_of(container)
    scope = None if record.scope is None else Scope(*record.scope)
    plan = compile_spec(spec, container_id=record.id, bundle=record.bundle, scope=scope, manner=AS_IT_RUNS)
    return Target(record.pid, record.started, spec, plan._replace(cgroup=record.cgroup))


def _wanted(call: Call, flags: Flags) -> Wanted:
    images = os.path.abspath(flags.text("image-path") or "checkpoint")
    return Wanted(
        images=images,
        work=os.path.abspath(flags.text("work-path") or images),
        parent=flags.text("parent-path"),
        leave_running=flags.is_on("leave-running"),
        pre_dump=flags.is_on("pre-dump"),
        tcp_established=flags.is_on("tcp-established"),
        ext_unix_sk=flags.is_on("ext-unix-sk"),
        shell_job=flags.is_on("shell-job"),
        file_locks=flags.is_on("file-locks"),
        auto_dedup=flags.is_on("auto-dedup"),
        cgroup_mode=cgroup_mode(flags),
        empty=empty_namespaces(flags),
        page_server=_page_server(flags.text("page-server")),
        criu=call.criu,
    )


def _page_server(text: str) -> tuple[str, int] | None:
    if not text:
        return None
    address, _, port = text.rpartition(":")
    if not address or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise InvalidInput(f"{text!r} is not of the form ADDRESS:PORT", hint="--page-server")
    return address.strip("[]"), int(port)


def refuse_lazy_pages(flags: Flags) -> None:
    """Refuse to move memory while the container runs already.

    :raises Unsupported: that is asked for.
    """
    if flags.is_on("lazy-pages") or flags.has("status-fd"):
        raise Unsupported(
            "memory cannot be moved after the container (--lazy-pages, --status-fd)",
            hint="--pre-dump and --parent-path shorten the time in which it stands still",
        )


def cgroup_mode(flags: Flags) -> str:
    """Return how control groups are dealt with.

    :raises InvalidInput: there is no such way.
    """
    mode = flags.text("manage-cgroups-mode", "soft")
    if mode not in CGROUP_MODES:
        raise InvalidInput(f"invalid manage-cgroups-mode {mode!r}", hint=", ".join(CGROUP_MODES))
    return mode


def empty_namespaces(flags: Flags) -> int:
    """Return the mask of the namespaces that are left empty.

    :raises InvalidInput: one of them cannot be.
    """
    mask = 0
    for name in flags.texts("empty-ns"):
        if name not in EMPTY_NAMESPACES:
            raise InvalidInput(f"namespace {name!r} cannot be left empty", hint=", ".join(EMPTY_NAMESPACES))
        mask |= EMPTY_NAMESPACES[name]
    return mask
