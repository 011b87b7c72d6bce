"""Programs for another processor: through an emulator that is registered with the kernel (binfmt_misc)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from wherry.errors import CommandNotExecutable, CommandNotFound, Unsupported, WherryError
from wherry.oci.platform import Platform

__all__ = ["emulated", "explained"]

_REGISTERED: Final = Path("/proc/sys/fs/binfmt_misc")
#: Names of processors, and of their emulators (qemu's), where they differ.
_EMULATORS: Final = {
    "386": "i386",
    "amd64": "x86_64",
    "arm64": "aarch64",
    "loong64": "loongarch64",
    "mips64le": "mips64el",
}


def emulated(platform: Platform, directory: Path = _REGISTERED) -> bool:
    """Whether an emulator for a platform is registered, and works in any root (flag ``F``)."""
    name = f"qemu-{_EMULATORS.get(platform.architecture, platform.architecture)}"
    try:
        lines = (directory / name).read_text().splitlines()
    except OSError:
        return False
    flags = next((line.partition(":")[2] for line in lines if line.startswith("flags")), "")
    return "enabled" in lines and "F" in flags


def explained(error: WherryError, platform: Platform | None) -> WherryError:
    """The same error; or what to do, where a program was not executed because it is for another processor."""
    if platform is None or not isinstance(error, CommandNotFound | CommandNotExecutable):
        return error
    if Platform.host().best_of([platform]) is not None or emulated(platform):
        return error
    return Unsupported(
        f"cannot run programs for {platform} on this machine, {Platform.host()}",
        cause=error.message,
        hint="an emulator makes it possible: apt-get install qemu-user-static",
    )
