"""What the tests need from a machine, and how a Debian machine gets it.

Uses the standard library only: it runs before anything is installed. Programs that would start a service when
their package is installed (Docker's client comes with its daemon) are unpacked into ``.cache`` instead.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"
PACKAGES: dict[str, Callable[[], bool]] = {
    "busybox-static": lambda: static_busybox() is not None,
    "libseccomp2": lambda: bool(list(Path("/usr/lib").glob("*/libseccomp.so.2"))),
    "python3-venv": lambda: all(map(makes_environments, {sys.executable, "/usr/bin/python3"})),
    "util-linux": lambda: shutil.which("setpriv") is not None and shutil.which("unshare") is not None,
    "procps": lambda: shutil.which("ps") is not None,
    "iproute2": lambda: shutil.which("ip") is not None,
    "openssl": lambda: shutil.which("openssl") is not None,
    "diffutils": lambda: shutil.which("diff") is not None,
    "attr": lambda: shutil.which("getfattr") is not None,
    "runc": lambda: shutil.which("runc", path=search_path()) is not None,
    "rsyslog": lambda: shutil.which("rsyslogd", path=search_path()) is not None,
    "nftables": lambda: shutil.which("nft", path=search_path()) is not None,
    "skopeo": lambda: shutil.which("skopeo") is not None,
    "openssh-client": lambda: shutil.which("ssh-agent") is not None,
    "openssh-server": lambda: shutil.which("sshd", path=search_path()) is not None,
}
VM_PACKAGES: dict[str, Callable[[], bool]] = {
    "qemu-system-x86": lambda: shutil.which("qemu-system-x86_64") is not None,
    "e2fsprogs": lambda: shutil.which("mkfs.ext4", path=search_path()) is not None,
    "xfsprogs": lambda: shutil.which("mkfs.xfs", path=search_path()) is not None,
    "kmod": lambda: shutil.which("modprobe", path=search_path()) is not None,
    "criu": lambda: shutil.which("criu", path=search_path()) is not None,
    "samba": lambda: shutil.which("smbd", path=search_path()) is not None,
}
OWN_NETWORK = ["unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$@"', "sh"]
"""Before a command: it has the machine's network for itself. An engine that ends looks whether others need what it
has changed there, so two parts with daemons would see each other."""
UNCOMPILED = (
    r"/site-packages/(pip|setuptools|pkg_resources|mypy|mypyc|pygments/lexers"
    r"|moto/(?!core|moto_|s3|cloudwatch|events|utilities)[^/]*)/"
)
"""What is started once at most, has no use for bytecode, or is not imported: a hundred services of Amazon's."""
OTHER_PYTHONS = ("3.13",)
"""Versions beside the one that runs this, on which the unit tests run as well."""


def works(command: list[str]) -> bool:
    """Whether a command can be run and succeeds; its output is dropped."""
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0
    except OSError:
        return False


def makes_environments(python: str) -> bool:
    """Whether an interpreter can make virtual environments, or is not there.

    Debian's without its package cannot; where another one is first in PATH, it is the faster one all the same.
    """
    return not Path(python).exists() or works([python, "-c", "import venv, ensurepip"])


def search_path() -> str:
    """PATH, with the directories that Debian gives to root only and with our own cache."""
    return ":".join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin", str(CACHE / "bin")])


def static_busybox() -> Path | None:
    """The busybox of Debian's busybox-static; the ordinary one is linked with libraries that a container lacks."""
    for path in (Path("/bin/busybox"), Path("/usr/bin/busybox")):
        if path.exists() and not dynamic(path):
            return path
    return None


def dynamic(program: Path) -> bool:
    """Whether an ELF program asks for an interpreter (``ld.so``)."""
    return b"/ld-linux" in program.read_bytes()[:4096]


def retried(command: list[str], *, tries: int = 3, quiet: bool = False) -> None:
    """Run a command that uses the network; a failure is tried again after a pause.

    :param quiet: drop what it says on its standard output.

    :raises subprocess.CalledProcessError: when the last try failed as well.
    """
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "PATH": search_path()}
    output = subprocess.DEVNULL if quiet else None
    for attempt in range(1, tries + 1):
        last = attempt == tries
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=output, check=last)
        if done.returncode == 0:
            return
        time.sleep(5 * attempt)


@cache
def update_lists() -> None:
    """Have apt fetch its lists, once."""
    retried(["apt-get", "update", "-qq"])


def install(packages: dict[str, Callable[[], bool]]) -> list[str]:
    """Install with apt what is missing among ``packages`` (name to test); gives what is missing still."""
    missing = [name for name, present in packages.items() if not present()]
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"installing {' '.join(missing)}", flush=True)
        update_lists()
        retried(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing], quiet=True)
        missing = [name for name in missing if not packages[name]()]
    return missing


def unpacked_package(names: list[str], wanted: str) -> Path | None:
    """Download the first of several packages that apt knows and unpack it into the cache, without installing it.

    :param wanted: a path inside the package; the next name is tried when it is not there.
    :returns: the directory it was unpacked into, or None.
    """
    if not shutil.which("apt-get"):
        return None
    for name in names:
        target = CACHE / "packages" / name
        if (target / wanted).exists():
            return target
        if not works(["apt-cache", "show", name]):
            works(["apt-get", "update", "-qq"])
        with_download(name, target)
        if (target / wanted).exists():
            return target
    return None


def with_download(name: str, target: Path) -> None:
    """Fetch one package and unpack it; an unknown name leaves an empty directory."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    # "_apt", the user that apt downloads as, may be unable to write here; that is a warning and no more
    subprocess.run(["apt-get", "download", "-qq", name], cwd=target, capture_output=True, check=False)
    for archive in target.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", str(archive), str(target)], check=True)
        archive.unlink()


def docker_client() -> bool:
    """Make Docker's own client available, without its daemon; False when it cannot be had."""
    if shutil.which("docker", path=search_path()):
        return True
    package = unpacked_package(["docker-cli", "docker.io"], "usr/bin/docker")
    if package is None:
        return False
    (CACHE / "bin").mkdir(exist_ok=True)
    shutil.copy2(package / "usr/bin/docker", CACHE / "bin/docker")
    return True


NODE = CACHE / "node"
RECEIVERS = ("@fluent-org/logger@1.0.10", "graygelf@2.0.0")
"""Servers of others' that take logs, by Fluentd's forward protocol and as GELF: packages of npm's."""


def has_receivers() -> bool:
    """Whether they are there, and what runs them."""
    paths = (NODE / "node_modules" / name.rpartition("@")[0] / "package.json" for name in RECEIVERS)
    return shutil.which("node") is not None and all(path.exists() for path in paths)


def fetch_receivers() -> None:
    """Make them available, if there is an npm."""
    if shutil.which("npm") and not has_receivers():
        NODE.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--prefix", str(NODE), "--ignore-scripts", "--no-audit", "--no-fund", *RECEIVERS]
        with suppress(subprocess.TimeoutExpired):
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=120)


def other_pythons() -> dict[str, str]:
    """Further interpreters on this machine, version to path: from PATH, or from a pyenv."""
    found = {}
    for version in OTHER_PYTHONS:
        if sys.version_info[:2] == tuple(map(int, version.split("."))):
            continue
        candidates = [shutil.which(f"python{version}"), *Path.home().glob(f".pyenv/versions/{version}.*/bin/python3")]
        for candidate in filter(None, candidates):
            if works([str(candidate), "-c", "import venv, ensurepip"]):
                found[version] = str(candidate)
    return found


def environment(python: str, directory: Path, extra: str = "dev") -> Path:
    """Make a virtual environment with wherry (editable) and what an extra of it names; gives its interpreter.

    Done again when ``pyproject.toml`` changed.
    """
    inside = directory / "bin/python"
    stamp = directory / ".development"
    wanted = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    if not (inside.exists() and stamp.exists() and stamp.read_text() == wanted):
        print(f"preparing {directory.name}", flush=True)
        if not inside.exists():
            subprocess.run([python, "-m", "venv", str(directory)], check=True)
        pip = [str(inside), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        # the one that comes with a Python takes twice as long to choose versions
        subprocess.run([*pip, "--upgrade", "pip"], stdin=subprocess.DEVNULL, check=False)
        retried([*pip, "--no-compile", "-e", f"{ROOT}[{extra}]"])
        compiled(inside, directory / "lib", leave_out=UNCOMPILED)
        stamp.write_text(wanted)
    return inside


def compiled(python: Path, directory: Path, *, leave_out: str = "^$") -> None:
    """Compile the modules below a directory, on all processors.

    Programs are started by the thousand, and nobody writes bytecode beside their modules.

    :param leave_out: a regular expression for paths.
    """
    # a few files of other people's are wrong on purpose, so the status says nothing
    command = [str(python), "-m", "compileall", "-q", "-q", "-j", "0", "-x", leave_out, str(directory)]
    subprocess.run(command, cwd=ROOT, check=False)


def rewritten(python: Path, tests: Sequence[str]) -> None:
    """Have pytest rewrite the assertions of tests once; it finds the bytecode again, beside them.

    Each process that runs them would do it anew; in the virtual machine that takes twenty times as long.

    :param tests: files, or what else pytest takes on its command line.
    """
    tests = [test for test in tests if not is_rewritten(ROOT / test.partition("::")[0])]
    if not tests:
        return
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [str(python), "-m", "pytest", "-q", "-q", "-p", "no:cacheprovider", "--collect-only", *tests]
    subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=False)


def is_rewritten(test: Path) -> bool:
    """Whether a file has been rewritten since it was changed last, by some pytest."""
    changed = test.stat().st_mtime
    return any(
        file.stat().st_mtime >= changed for file in (test.parent / "__pycache__").glob(f"{test.stem}.*-pytest-*.pyc")
    )
