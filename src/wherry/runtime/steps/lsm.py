"""LSM labels: the AppArmor profile or SELinux label of the program."""

from __future__ import annotations

import errno
import os
from typing import Final, NamedTuple

from wherry.errors import InvalidInput, SystemFault, Unsupported
from wherry.linux import lsm
from wherry.linux.fd import Fd
from wherry.linux.mount import PROC_SUPER_MAGIC, statfs
from wherry.runtime.steps.step import Context

__all__ = ["LabelProgram"]

#: Where the label of the next executed program is written; the first that exists.
_FILES: Final = {
    "apparmor": ("/proc/thread-self/attr/apparmor/exec", "/proc/thread-self/attr/exec"),
    "selinux": ("/proc/thread-self/attr/exec",),
}
#: Asked first: without its module, another one would read the label.
_IS_ON: Final = {"apparmor": lsm.has_apparmor, "selinux": lsm.has_selinux}


class LabelProgram(NamedTuple):
    """Have the program confined by a label; ``module`` is ``apparmor`` or ``selinux``.

    Done first of all, with the host's /proc, which no container can have tampered with; the kernel keeps the label
    until execve. That the file is on procfs is verified all the same (CVE-2025-52881).
    """

    module: str
    label: str

    def describe(self) -> str:
        return f"set the {self.module} label {self.label}"

    def apply(self, context: Context) -> None:
        if not _IS_ON[self.module]():
            raise self._missing()
        text = f"exec {self.label}" if self.module == "apparmor" else self.label
        with self._opened() as fd:
            if statfs(fd).f_type != PROC_SUPER_MAGIC:
                raise SystemFault("/proc is not procfs")
            try:
                os.write(fd.fileno(), text.encode())
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.EINVAL):
                    raise
                raise InvalidInput(f"the {self.module} label {self.label!r} is not known here") from error

    def _opened(self) -> Fd:
        for path in _FILES[self.module]:
            try:
                return Fd(os.open(path, os.O_WRONLY | os.O_CLOEXEC))
            except FileNotFoundError:
                continue
        raise self._missing()

    def _missing(self) -> Unsupported:
        return Unsupported(f"this kernel has no {self.module}, so the label {self.label!r} cannot be set")
