"""Linux security modules: which of them confine programs on this machine."""

from __future__ import annotations

from typing import Final

from wherry.errors import SystemCallError
from wherry.linux.mount import statfs

__all__ = ["has_apparmor", "has_selinux"]

_SELINUX_MAGIC: Final = 0xF97CFF8C


def has_apparmor() -> bool:
    """Whether AppArmor is on; the module says so under /sys."""
    try:
        with open("/sys/module/apparmor/parameters/enabled", encoding="ascii") as file:
            return file.read(1) == "Y"
    except OSError:
        return False


def has_selinux() -> bool:
    """Whether SELinux is on: its file system is at the one place where it is looked for."""
    try:
        return statfs("/sys/fs/selinux").f_type == _SELINUX_MAGIC
    except SystemCallError:
        return False
