"""Write sysctls, which decide about the container's own namespaces only; `wherry.runtime.compile.sysctls` checks that.

What is written to is verified by descriptor: that it is on procfs, with no link or mount on the way (CVE-2025-52881).
"""

from __future__ import annotations

import os
from typing import NamedTuple

from wherry.errors import InvalidInput, SystemFault
from wherry.linux.fd import Fd
from wherry.linux.files import RESOLVE, openat2
from wherry.linux.mount import PROC_SUPER_MAGIC, statfs
from wherry.runtime.steps.step import Context

__all__ = ["Sysctl"]


class Sysctl(NamedTuple):
    """Write kernel settings; ``settings`` are pairs of the path below /proc/sys and the value."""

    settings: tuple[tuple[str, str], ...]

    def describe(self) -> str:
        return "set " + ", ".join(f"{path.replace('/', '.')}={value}" for path, value in self.settings)

    def apply(self, context: Context) -> None:
        proc = context.proc or Fd(os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        if statfs(proc).f_type != PROC_SUPER_MAGIC:
            raise SystemFault("/proc is not procfs")
        for path, value in self.settings:
            _write_setting(proc, path, value)


def _write_setting(proc: Fd, path: str, value: str) -> None:
    # Neither a link nor another mount may lie on the way: the value must reach the setting that was checked.
    resolve = RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS | RESOLVE.NO_XDEV
    with openat2(proc, f"sys/{path}", os.O_WRONLY, resolve=resolve) as fd:
        try:
            os.write(fd.fileno(), value.encode())
        except OSError as error:
            name = path.replace("/", ".")
            raise InvalidInput(f"the kernel refused sysctl {name}={value!r}", cause=error.strerror) from error
