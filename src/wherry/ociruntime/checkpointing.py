"""What the verbs ``checkpoint`` and ``restore`` have in common: flags, and what these say."""

from __future__ import annotations

import os

from wherry.errors import InvalidInput, Unsupported
from wherry.ociruntime.call import Call
from wherry.ociruntime.flags import Flags
from wherry.runtime.compile.manner import Manner
from wherry.runtime.criu.common import CGROUP_MODES, EMPTY_NAMESPACES, Common

__all__ = ["AS_IT_RUNS", "SHARED_FLAGS", "common", "refuse_lazy_pages"]

#: How a container is compiled that is not born, but is there, or comes of an image: nobody runs hooks inside.
AS_IT_RUNS = Manner(apart=True, state=b"{}")
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


def common(call: Call, flags: Flags) -> Common:
    """Return what the flags say.

    :raises InvalidInput: something that is not.
    """
    images = os.path.abspath(flags.text("image-path") or "checkpoint")
    return Common(
        images=images,
        work=os.path.abspath(flags.text("work-path") or images),
        tcp_established=flags.is_on("tcp-established"),
        ext_unix_sk=flags.is_on("ext-unix-sk"),
        shell_job=flags.is_on("shell-job"),
        file_locks=flags.is_on("file-locks"),
        auto_dedup=flags.is_on("auto-dedup"),
        cgroup_mode=_cgroup_mode(flags),
        empty=_empty_namespaces(flags),
        criu=call.criu,
    )


def refuse_lazy_pages(flags: Flags) -> None:
    """Refuse to move memory while the container runs already.

    :raises Unsupported: that is asked for.
    """
    if flags.is_on("lazy-pages") or flags.has("status-fd"):
        raise Unsupported(
            "memory cannot be moved after the container (--lazy-pages, --status-fd)",
            hint="--pre-dump and --parent-path shorten the time in which it stands still",
        )


def _cgroup_mode(flags: Flags) -> str:
    mode = flags.text("manage-cgroups-mode", "soft")
    if mode not in CGROUP_MODES:
        raise InvalidInput(f"invalid manage-cgroups-mode {mode!r}", hint=", ".join(CGROUP_MODES))
    return mode


def _empty_namespaces(flags: Flags) -> int:
    mask = 0
    for name in flags.texts("empty-ns"):
        if name not in EMPTY_NAMESPACES:
            raise InvalidInput(f"namespace {name!r} cannot be left empty", hint=", ".join(EMPTY_NAMESPACES))
        mask |= EMPTY_NAMESPACES[name]
    return mask
