"""``wherry-oci restore``: make a running container of an image, by criu."""

from __future__ import annotations

import os

from wherry.errors import Unsupported
from wherry.linux.fd import Fd
from wherry.linux.proc import start_time
from wherry.linux.process import pidfd_open, set_child_subreaper
from wherry.oci.runtime_spec import Spec
from wherry.ociruntime.bundle import encode_spec, read_bundle
from wherry.ociruntime.call import Call, one_argument
from wherry.ociruntime.checkpointing import AS_IT_RUNS, SHARED_FLAGS, common, refuse_lazy_pages
from wherry.ociruntime.console import check_socket, send_master
from wherry.ociruntime.container import Container, Record
from wherry.ociruntime.flags import Flags, parse
from wherry.ociruntime.foreground import Signals, wait
from wherry.ociruntime.lasting_hooks import run_here
from wherry.ociruntime.making import note_groups, record_of, scope_of, undo, write_pid_file
from wherry.ociruntime.verbs.run import remove
from wherry.runtime.compile.spec import compile_spec
from wherry.runtime.criu.restore import Restored, Wanted, restore
from wherry.runtime.plan import Plan

__all__ = ["ARGUMENTS", "FLAGS", "run"]

FLAGS = {
    **SHARED_FLAGS,
    "bundle": True,
    "console-socket": True,
    "detach": False,
    "pid-file": True,
    "no-subreaper": False,
    "no-pivot": False,
    "tcp-close": False,
    "lsm-profile": True,
    "lsm-mount-context": True,
}
ARGUMENTS = "ID"


def run(call: Call, arguments: list[str]) -> int:
    """Restore it. :returns: as ``run`` does."""
    flags, rest = parse(arguments, FLAGS, short={"b": "bundle", "d": "detach"})
    name = one_argument(rest, "restore")
    refuse_lazy_pages(flags)
    if not call.groups:
        raise Unsupported("a container cannot be restored without a control group", hint="use cgroupfs")
    detach = flags.is_on("detach")
    bundle = os.path.abspath(flags.text("bundle", "."))
    spec = read_bundle(bundle)
    terminal = spec.process is not None and spec.process.terminal
    check_socket(flags.text("console-socket"), terminal=terminal, detach=detach)
    arrived = None if detach else Signals()
    if not detach and not flags.is_on("no-subreaper"):
        set_child_subreaper(True)
    restored = _restore(call, flags, name, bundle, spec)
    if arrived is None:
        return 0
    code = wait(restored.pid, pidfd_open(restored.pid), restored.master, arrived)
    remove(call, name)
    return code


def _restore(call: Call, flags: Flags, name: str, bundle: str, spec: Spec) -> Restored:
    record = record_of(name, bundle, spec)
    plan = compile_spec(spec, container_id=name, bundle=bundle, scope=scope_of(call, spec, name), manner=AS_IT_RUNS)
    note_groups(record, plan)
    container = Container.claim(call.root, name)
    try:
        container.write_config(encode_spec(spec))
        restored = _with_hooks(call, flags, container, record, spec=spec, plan=plan)
    except BaseException:
        undo(call, container, record)
        raise
    container.close()
    return restored


def _with_hooks(call: Call, flags: Flags, container: Container, record: Record, *, spec: Spec, plan: Plan) -> Restored:
    def namespaces_made(pid: int) -> None:
        record.pid, record.started = pid, start_time(pid) or 0
        container.write(record)
        for kind in ("prestart", "createRuntime"):
            run_here(record, kind, "creating")

    def before_it_runs(pid: int) -> None:
        record.pid, record.started, record.phase = pid, start_time(pid) or 0, "started"
        container.write(record)
        if path := flags.text("pid-file"):
            write_pid_file(path, pid)

    restored = restore(
        spec,
        plan,
        _wanted(call, flags, container.path),
        namespaces_made=namespaces_made,
        before_it_runs=before_it_runs,
    )
    return restored._replace(master=_handed_over(flags.text("console-socket"), restored.master))


def _handed_over(socket: str, master: Fd | None) -> Fd | None:
    if not socket or master is None:
        return master
    with master:
        send_master(socket, master)
    return None


def _wanted(call: Call, flags: Flags, stage: str) -> Wanted:
    return Wanted(
        common(call, flags),
        stage,
        tcp_close=flags.is_on("tcp-close"),
        lsm_profile=flags.text("lsm-profile"),
        lsm_mount_context=flags.text("lsm-mount-context"),
    )
