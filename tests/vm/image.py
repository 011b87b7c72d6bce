"""The disks of the virtual machine: a root file system, the repository, and an empty one for the report."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests import machine
from tests.vm.kernel import Kernel, disk_modules

HERE = Path(__file__).resolve().parent
PROGRAMS = tuple(
    "bash cat chmod chown cp criu diff env find grep head id ln ls mkdir mknod mv rm rmdir sed sh sleep sort stat tail "
    "tar touch true uname wc curl docker getfattr git ip kmod mkfs.ext4 mkfs.xfs mount nft nsenter openssl prlimit ps "
    "runc setfattr setpriv skopeo smbd smbpasswd umount unshare".split()
)
"""Taken along when this machine has them, with their libraries; all else is busybox."""
SYSTEMD = ("/usr/lib/systemd/systemd",)
"""For a manager of the user's kind, which some tests start."""
LIBRARIES = ("libseccomp.so.2", "libnss_files.so.2", "libgcc_s.so.1")
"""Loaded by name at run time, so no program's list of libraries shows them."""
NOT_NEEDED = {
    "test",
    "tests",
    "site-packages",
    "dist-packages",
    "idlelib",
    "tkinter",
    "ensurepip",
    "__pycache__",
    "turtledemo",
}
NOT_IMPORTED = {
    "__pycache__",
    "aiobotocore",
    "boto3",
    "botocore",
    "moto",
    "mypy",
    "mypyc",
    "pip",
    "pkg_resources",
    "ruff",
    "setuptools",
}
"""Directories and programs of the virtual environment that no test in there has a use for; they are most of it."""
COMPILED = ("src/", "tests/")
REPOSITORY = ("src", "tests", "bench", "pyproject.toml", "ARCHITECTURE.md", "README.md", "wherry", "packaging")
DIRECTORIES = (
    *("dev", "etc", "home", "job", "mnt", "opt", "proc", "root", "run", "srv", "sys", "tmp", "usr/bin", "usr/lib"),
    *("usr/lib64", "usr/local/bin", "usr/local/lib", "usr/sbin", "usr/share", "var/lib", "var/log", "var/tmp"),
)
ACCOUNTS = {
    "passwd": "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1::/:/bin/false\nnobody:x:65534:65534::/:/bin/false\n",
    "group": "root:x:0:\ndaemon:x:1:\ntty:x:5:\nnogroup:x:65534:\n",
    "hosts": "127.0.0.1 localhost wherry-vm\n",
    "resolv.conf": "",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    "os-release": 'ID=wherry-vm\nPRETTY_NAME="wherry test machine"\n',
}


def root_disk(python: Path, kernel: Kernel) -> Path:
    """An ext4 image that boots into ``guest.sh``; built once and kept until a file in it changes.

    :param python: the interpreter of the virtual environment to take along.
    """
    files = contents(python, kernel)
    state = repr([(str(to), os.path.getsize(of), os.path.getmtime(of)) for to, of in sorted(files.items())])
    state += Path(__file__).read_text()
    image = machine.CACHE / f"vm-root-{hashlib.sha256(state.encode()).hexdigest()[:16]}.ext4"
    if not image.exists():
        for old in machine.CACHE.glob("vm-root-*"):
            old.unlink()
        build(files, image, python)
    return image


def contents(python: Path, kernel: Kernel) -> dict[Path, Path]:
    """What the root file system holds: path in it to the file here."""
    environment = python.parent.parent
    programs = [path for name in PROGRAMS if (path := shutil.which(name, path=machine.search_path()))]
    files: dict[Path, Path] = {Path("/usr/bin", Path(path).name): Path(path).resolve() for path in programs}
    files |= {path: path for path in map(Path, SYSTEMD) if path.exists()}
    files |= {path: path for path in [*interpreter(python), *tree(environment, NOT_IMPORTED)]}
    busybox = machine.static_busybox()
    assert busybox, "busybox-static is not installed"
    files[Path("/usr/bin/busybox")] = busybox
    files |= {merged(path): path for path in libraries(set(files.values()))}
    files |= {
        Path("/usr/lib/modules", kernel.release, path.relative_to(kernel.modules)): path
        for path in tree(kernel.modules)
    }
    files[Path("/guest.sh")] = HERE / "guest.sh"
    return files


def interpreter(python: Path) -> Iterator[Path]:
    """The files of the Python that a virtual environment is made of."""
    code = (
        "import sys, sysconfig; print(sys.base_prefix, sysconfig.get_path('stdlib', vars=dict(base=sys.base_prefix)))"
    )
    prefix, library = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    yield python.resolve()
    yield from (path for path in tree(Path(library)) if not path.parts[len(Path(library).parts)].startswith("config-"))
    if Path(prefix) != Path("/usr"):
        yield from Path(prefix, "lib").glob("libpython*.so*")
        yield from (path for path in Path(prefix, "bin").glob("python*") if not path.name.endswith("-config"))
    else:
        yield from Path("/usr/bin").glob("python3*[0-9]")
        yield Path("/usr/bin/python3")


def tree(top: Path, skip: set[str] = NOT_NEEDED) -> Iterator[Path]:
    """The files under a directory, without what nobody imports."""
    for directory, names, files in os.walk(top):
        names[:] = [name for name in names if name not in skip]
        yield from (Path(directory, name) for name in files if name not in skip and not name.endswith((".a", ".pyc")))


def libraries(files: set[Path]) -> set[Path]:
    """The shared libraries that programs and extension modules are linked with."""
    elf = [str(path) for path in files if path.is_file() and is_elf(path)]
    shown = subprocess.run(["ldd", *elf], capture_output=True, text=True, check=False).stdout
    found = {Path(name) for name in re.findall(r"(/\S+) \(0x", shown)}
    folders = {path.parent for path in found}
    found |= {folder / name for folder in folders for name in LIBRARIES if (folder / name).exists()}
    return {path for path in found if path not in files}


def merged(path: Path) -> Path:
    """``/lib/x`` is ``/usr/lib/x`` where /lib is a link, as it is in the image."""
    return Path("/usr", *path.parts[1:]) if path.parts[1] in ("lib", "lib64", "bin", "sbin") else path


def is_elf(path: Path) -> bool:
    """Whether a file is a program or a library."""
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def build(files: dict[Path, Path], image: Path, python: Path) -> None:
    """Lay the tree out and make a file system of it, without mounting anything."""
    print(f"building the root file system: {len(files)} files", flush=True)
    with tempfile.TemporaryDirectory(dir=machine.CACHE) as directory:
        top = Path(directory, "tree")
        skeleton(top)
        for inside, outside in files.items():
            target = top / inside.relative_to("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            if not os.path.lexists(target):
                shutil.copy2(outside, target, follow_symlinks=not outside.is_symlink() or inside != outside)
        compile_modules(top, python)
        half_made = image.with_suffix(".tmp")
        options = ["-q", "-F", "-L", "wherry", "-O", "^has_journal", "-E", "root_owner=0:0,lazy_itable_init=1"]
        subprocess.run(["mkfs.ext4", *options, "-d", str(top), str(half_made), "4G"], check=True)
        half_made.rename(image)


def compile_modules(top: Path, python: Path) -> None:
    """Compile every module here, where it takes seconds: in the virtual machine each program would start with that."""
    options = ["-q", "-q", "-j", "2", "--invalidation-mode", "unchecked-hash", "-s", str(top), "-p", "/"]
    # a few files of the standard library are wrong on purpose, so the status says nothing
    subprocess.run([python, "-m", "compileall", *options, str(top)], check=False, capture_output=True)


def skeleton(top: Path) -> None:
    """The directories, links and accounts of a small system; every busybox applet gets its link."""
    for name in DIRECTORIES:
        (top / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (top / name).symlink_to(f"usr/{name}")
    (top / "tmp").chmod(0o1777)
    (top / "var/run").symlink_to("/run")
    for name, text in ACCOUNTS.items():
        (top / "etc" / name).write_text(text)
    taken = {name for name in PROGRAMS if shutil.which(name, path=machine.search_path())}
    busybox = str(machine.static_busybox())
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    for name in (name for name in applets if name not in taken and name != "busybox"):
        (top / "usr/bin" / name).symlink_to("busybox")
    for name in ("modprobe", "insmod", "lsmod", "depmod") if "kmod" in taken else ():
        (top / "usr/sbin" / name).symlink_to("../bin/kmod")


def initramfs(kernel: Kernel, target: Path) -> None:
    """The archive that the kernel unpacks first: busybox, the disk's modules, ``boot.sh``."""
    with tempfile.TemporaryDirectory() as directory:
        top = Path(directory)
        for name in ("bin", "dev", "proc", "root"):
            (top / name).mkdir()
        busybox = str(machine.static_busybox())
        shutil.copy2(busybox, top / "bin/busybox")
        shutil.copy2(HERE / "boot.sh", top / "init")
        (top / "init").chmod(0o755)
        disk_modules(kernel, top / "modules")
        names = "\n".join(str(path.relative_to(top)) for path in sorted(top.rglob("*")))
        packed = subprocess.run(
            [busybox, "cpio", "-o", "-H", "newc"], input=names.encode(), cwd=top, capture_output=True, check=True
        )
        target.write_bytes(packed.stdout)


def repository_disk(target: Path, settings: Path) -> None:
    """The repository and what the guest is to do, as a tar archive, which it reads from the bare disk.

    What is compiled goes along: compiling takes many times as long in there.
    """

    def wanted(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        return None if "__pycache__" in member.name and not member.name.startswith(COMPILED) else member

    with tarfile.open(target, "w") as archive:
        archive.add(settings, ".vm-settings")
        for name in REPOSITORY:
            if (machine.ROOT / name).exists():
                archive.add(machine.ROOT / name, name, filter=wanted)
    pad(target)


def report_disk(target: Path, size: int = 16 << 20) -> None:
    """An empty disk that the guest writes its report to, as a tar archive."""
    with target.open("wb") as file:
        file.truncate(size)


def read_report(disk: Path) -> dict[str, bytes]:
    """The files that the guest left on the report disk; none when it never got that far."""
    found: dict[str, bytes] = {}
    if disk.read_bytes()[:512].strip(b"\0"):
        with tarfile.open(fileobj=io.BytesIO(disk.read_bytes())) as archive:
            for member in archive:
                file = archive.extractfile(member)
                if file:
                    found[Path(member.name).name] = file.read()
    return found


def pad(path: Path, block: int = 512) -> None:
    """Make a file's size a whole number of sectors: qemu cuts the rest off."""
    size = path.stat().st_size
    os.truncate(path, (size + block - 1) // block * block)
