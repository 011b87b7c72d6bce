"""An ordinary user of this machine, with a range of further IDs, in a mount and a network namespace of one's own.

Nothing is changed on the host: the user is in files that are bound over /etc/passwd and the like, and what the user has
to reach below directories that are closed to others (an interpreter in root's home, say) is bound to where it is.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from machine import search_path
from support.processes import wait_for

__all__ = ["OrdinaryUser", "ordinary_user"]

UID = 61_234
RANGE = 1_000_000
NAME = "wherry-tester"
SOURCES = Path(__file__).resolve().parents[2] / "src"


class OrdinaryUser:
    """Who runs commands.

    :ivar home: a directory of the user's, with a short name.
    """

    def __init__(self, keeper: int, home: Path, group: str) -> None:
        self._keeper = keeper
        self.home = home
        self._group = group

    def command(self, *words: str, **environment: str) -> list[str]:
        """The command line by which root runs something as the user."""
        own = {"PATH": search_path(), "HOME": str(self.home), "XDG_RUNTIME_DIR": f"{self.home}/run", "USER": NAME}
        variables = [f"{name}={value}" for name, value in (own | {"TERM": "dumb"} | environment).items()]
        who = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--inh-caps=-all"]
        place = ["nsenter", f"--target={self._keeper}", "--mount", "--net", f"--wd={self.home}"]
        enter = ["sh", "-c", f'echo $$ >{self._group}/own/cgroup.procs; exec "$@"', "sh"] if self._group else []
        return [*place, *enter, *who, "env", "-i", *variables, *words]

    def leave(self) -> None:
        """Remove the user's control groups; no process of his is there any more."""
        if self._group:
            script = f"find {self._group} -depth -type d -exec rmdir {{}} +"
            subprocess.run(["nsenter", f"--target={self._keeper}", "--mount", "sh", "-c", script], check=False)


@contextmanager
def ordinary_user(*, delegated: bool = False) -> Iterator[OrdinaryUser]:
    """The user, until the end of the block, and then no process of his.

    :param delegated: on version 2 of control groups, where he has one of his own.
    """
    home = Path(tempfile.mkdtemp(prefix="user-"))  # podman wants names of sockets below this to be short
    group = f"/sys/fs/cgroup/wherry-test-{home.name}" if delegated else ""
    script = f"{_setup(home)}\n{_delegation(group)}\necho ready; exec sleep infinity >&2"
    keeper = subprocess.Popen(["unshare", "--mount", "--net", "sh", "-ec", script], stdout=subprocess.PIPE)
    user = OrdinaryUser(keeper.pid, home, group)
    try:
        assert keeper.stdout is not None
        with keeper.stdout as said:
            assert said.readline() == b"ready\n", "no namespaces for the user"
        yield user
    finally:
        _end_all()
        user.leave()
        keeper.kill()
        keeper.wait()
        shutil.rmtree(home)


def _delegation(group: str) -> str:
    if not group:
        return ""
    only_version_2 = "umount --recursive /sys/fs/cgroup\nmount -t cgroup2 cgroup2 /sys/fs/cgroup"
    return f"{only_version_2}\nmkdir {group} {group}/own\nchown -R {UID}:{UID} {group}"


def _setup(home: Path) -> str:
    """A script for the mount namespace."""
    (home / "run").mkdir(mode=0o700)
    for path in (home, home / "run"):
        os.chown(path, UID, UID)
    etc = home / "etc"
    etc.mkdir()
    (etc / "passwd").write_text(f"{Path('/etc/passwd').read_text()}{NAME}:x:{UID}:{UID}::{home}:/bin/sh\n")
    (etc / "group").write_text(f"{Path('/etc/group').read_text()}{NAME}:x:{UID}:\n")
    for name in ("subuid", "subgid"):
        (etc / name).write_text(f"{NAME}:{RANGE}:65536\n")
    lines = ["ip link set lo up", f"mkdir {home}/device", f"mknod -m 666 {home}/device/tun c 10 200"]
    lines += [f"mount --bind {path} /etc/{path.name}" for path in etc.iterdir()]
    lines += [f"mount --bind {home}/device/tun /dev/net/tun", *_opened(home)]
    return "\n".join(lines)


def _opened(home: Path) -> Iterator[str]:
    """Lines that make the interpreter and the sources reachable for everybody."""
    closed: dict[Path, Path] = {}
    for path in (Path(sys.base_prefix), Path(sys.prefix), SOURCES):
        for above in reversed(path.resolve().parents):
            if not above.stat().st_mode & 0o001:
                closed[path.resolve()] = above
                break
    stash = {path: shlex.quote(f"{home}/stash{number}") for number, path in enumerate(closed)}
    for path, place in stash.items():
        yield f"mkdir {place}; mount --bind {shlex.quote(str(path))} {place}"
    for above in sorted(set(closed.values())):
        yield f"mount -t tmpfs -o mode=0755 tmpfs {shlex.quote(str(above))}"
    for path, place in stash.items():
        quoted = shlex.quote(str(path))
        yield f"mkdir -p {quoted}; mount --bind {place} {quoted}; umount {place}"


def _processes() -> list[int]:
    """Those of the user, who has become others by the range; without those that have ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            owner = path.stat().st_uid
            if owner != UID and not RANGE <= owner < RANGE + 65536:
                continue
            if (path / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found.append(int(path.name))
    return found


def _end_all() -> None:
    def gone() -> bool:
        for pid in (found := _processes()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not found

    wait_for(gone)
