"""Install a distribution's base system into a directory, reproducibly.

Everything that depends on the time or the machine is removed: logs, caches, package lists, host names, device nodes
(containers get their own). No time is later than the distribution's own release; so the same packages give the same
image, to the last bit of its ID.
"""

from __future__ import annotations

import email.utils
import os
import re
import shutil
import subprocess

from wherry.errors import CommandNotFound, InvalidInput, SystemFault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["BaseSystem", "clean", "find_tool", "install", "release_time"]

SCRIPTS = "/usr/share/debootstrap/scripts"
#: Directories to empty, relative to the root: caches, logs and lists of the package manager.
_EMPTIED = ("dev", "proc", "run", "sys", "tmp", "var/cache/apt", "var/lib/apt/lists", "var/log", "var/tmp")
_REMOVED = (
    "debootstrap", "etc/hostname", "etc/resolv.conf", "etc/.pwd.lock", "etc/passwd-", "etc/group-", "etc/shadow-",
    "etc/gshadow-", "var/cache/ldconfig/aux-cache", "var/cache/debconf/config.dat-old",
    "var/cache/debconf/templates.dat-old", "var/lib/dpkg/diversions-old", "var/lib/dpkg/status-old",
    "var/lib/systemd/random-seed",
)  # fmt: skip
_NAME = re.compile(r"[a-z0-9][a-z0-9.+-]*")
_DAY = 24 * 3600


class BaseSystem:
    """The base system to install.

    :param suite: the distribution's release: ``bookworm``.
    :param include: additional packages.
    :param mirror: where packages come from; empty for the tool's own choice.
    """

    def __init__(
        self,
        suite: str,
        *,
        variant: str = "minbase",
        include: Sequence[str] = (),
        mirror: str = "",
        components: str = "",
    ) -> None:
        for what, text in (("suite", suite), ("variant", variant), *(("package", name) for name in include)):
            if not _NAME.fullmatch(text):
                raise InvalidInput(f"invalid {what} name {text!r}")
        self.suite = suite
        self.variant = variant
        self.include = list(include)
        self.mirror = mirror
        self.components = components

    def command(self, tool: str, target: str) -> list[str]:
        """The command line that installs it into a directory (debootstrap(8), mmdebstrap(1))."""
        options = [f"--variant={self.variant}"]
        if self.include:
            options.append(f"--include={','.join(self.include)}")
        if self.components:
            options.append(f"--components={self.components}")
        if os.path.basename(tool) == "mmdebstrap":
            options += ["--mode=root", "--format=directory"]
        return [tool, *options, self.suite, target, *([self.mirror] if self.mirror else [])]


def find_tool() -> str:
    """Find the program that installs base systems: mmdebstrap, else debootstrap.

    :raises CommandNotFound: neither is installed.
    """
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    found = shutil.which("mmdebstrap", path=path) or shutil.which("debootstrap", path=path)
    if found is None:
        raise CommandNotFound(
            "neither mmdebstrap nor debootstrap is installed",
            hint="on Debian: apt install mmdebstrap",
        )
    return found


def install(system: BaseSystem, tool: str, target: str, report: Callable[[str], object]) -> None:
    """Install a base system, and report each step.

    :raises SystemFault: the tool failed; the message has its last output.
    """
    if os.path.basename(tool) == "debootstrap" and not os.path.exists(f"{SCRIPTS}/{system.suite}"):
        raise InvalidInput(f"unknown suite '{system.suite}'", hint=f"debootstrap's suites are in {SCRIPTS}")
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    last: list[str] = []
    with subprocess.Popen(
        system.command(tool, target),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            last = [*last[-9:], line.strip()]
            report(line.strip())
    if process.returncode:
        raise SystemFault(
            f"{os.path.basename(tool)} ended with status {process.returncode}", cause="; ".join(last[-3:])
        )


def release_time(root: str) -> int:
    """Time of the distribution's release according to its package lists, in seconds since the epoch.

    With several lists (updates) the newest. ``SOURCE_DATE_EPOCH`` takes precedence.
    """
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    if given.isdigit():
        return int(given)
    lists = f"{root}/var/lib/apt/lists"
    found = [0]
    for name in os.listdir(lists) if os.path.isdir(lists) else []:
        if name.endswith(("_InRelease", "_Release")):
            with open(f"{lists}/{name}", encoding="utf-8", errors="replace") as file:
                dates = [line.partition(":")[2].strip() for line in file if line.startswith("Date:")]
            found += [int(email.utils.parsedate_to_datetime(date).timestamp()) for date in dates[:1]]
    return max(found)


def clean(root: str, moment: int) -> None:
    """Remove everything from a base system that depends on the time or the machine."""
    for path in _EMPTIED:
        for directory, directories, files in os.walk(f"{root}/{path}", topdown=False):
            for name in files:
                os.unlink(f"{directory}/{name}")
            for name in directories:
                inner = f"{directory}/{name}"
                if os.path.islink(inner) or path in ("dev", "proc", "run", "sys", "tmp", "var/tmp"):
                    os.unlink(inner) if os.path.islink(inner) else os.rmdir(inner)
    for path in _REMOVED:
        full = f"{root}/{path}"
        if os.path.isdir(full) and not os.path.islink(full):
            shutil.rmtree(full)
        elif os.path.lexists(full):
            os.unlink(full)
    if os.path.exists(f"{root}/etc/machine-id"):
        open(f"{root}/etc/machine-id", "wb").close()
    _set_password_dates(f"{root}/etc/shadow", moment // _DAY)


def _set_password_dates(path: str, day: int) -> None:
    """Set the date of the last password change (shadow(5)) of all users."""
    if not os.path.exists(path):
        return
    with open(path) as file:
        entries = [line.rstrip("\n").split(":") for line in file]
    for entry in entries:
        if len(entry) > 2 and entry[2].isdigit():
            entry[2] = str(day)
    with open(path, "w") as file:
        file.write("".join(":".join(entry) + "\n" for entry in entries))
