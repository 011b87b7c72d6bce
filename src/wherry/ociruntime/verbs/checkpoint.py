"""``wherry-oci checkpoint``: write a running container into an image, by criu."""

from __future__ import annotations

from wherry.errors import Conflict, InvalidInput
from wherry.ociruntime.call import Call, one_argument
from wherry.ociruntime.checkpointing import AS_IT_RUNS, SHARED_FLAGS, common, refuse_lazy_pages
from wherry.ociruntime.container import Container, Record
from wherry.ociruntime.entering import spec_of
from wherry.ociruntime.flags import Flags, parse
from wherry.ociruntime.verbs.delete import delete
from wherry.runtime.cgroups.scope import Scope
from wherry.runtime.compile.spec import compile_spec
from wherry.runtime.criu.dump import Target, Wanted, dump

__all__ = ["ARGUMENTS", "FLAGS", "run", "target_of"]

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
    return Wanted(
        common(call, flags),
        parent=flags.text("parent-path"),
        leave_running=flags.is_on("leave-running"),
        pre_dump=flags.is_on("pre-dump"),
        page_server=_page_server(flags.text("page-server")),
    )


def _page_server(text: str) -> tuple[str, int] | None:
    if not text:
        return None
    address, _, port = text.rpartition(":")
    if not address or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise InvalidInput(f"{text!r} is not of the form ADDRESS:PORT", hint="--page-server")
    return address.strip("[]"), int(port)
