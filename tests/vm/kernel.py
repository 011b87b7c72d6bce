"""Debian's cloud kernel: found on this machine, or downloaded and unpacked into the cache."""

from __future__ import annotations

import lzma
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests import machine

META_PACKAGE = "linux-image-cloud-amd64"
DISK_MODULES = ("virtio_pci", "virtio_blk")
"""What the initramfs needs in order to see the root disk."""


class Kernel(NamedTuple):
    """A kernel and its modules.

    :ivar image: the file that boots.
    :ivar release: what ``uname -r`` says in it.
    :ivar modules: the directory ``.../lib/modules/<release>``.
    """

    image: Path
    release: str
    modules: Path


def find() -> Kernel:
    """The kernel to boot.

    :raises SystemExit: when there is none and none can be downloaded.
    """
    kernel = newest_in(Path("/")) or newest_in(downloaded())
    if kernel is None:
        raise SystemExit(f"no kernel: {META_PACKAGE} is neither installed nor to be had")
    if not (kernel.modules / "modules.dep").exists():
        subprocess.run(["depmod", "-b", str(tree_of(kernel)), kernel.release], env=found_in_sbin(), check=True)
    return kernel


def tree_of(kernel: Kernel) -> Path:
    """The directory that kmod's programs take as the root of ``lib/modules``."""
    return kernel.modules.parent.parent.parent


def found_in_sbin() -> dict[str, str]:
    """Our environment, with the directories that hold kmod's programs."""
    return {**os.environ, "PATH": machine.search_path()}


def newest_in(tree: Path) -> Kernel | None:
    """The newest cloud kernel under ``tree``, as Debian's package lays it out."""
    kernels = []
    for image in tree.glob("boot/vmlinuz-*-cloud-amd64"):
        release = image.name.removeprefix("vmlinuz-")
        modules = next(
            (path for path in (tree / "lib/modules", tree / "usr/lib/modules") if (path / release).is_dir()), None
        )
        if modules:
            kernels.append(Kernel(image, release, modules / release))
    return max(kernels, key=lambda kernel: [int(part) for part in re.findall(r"\d+", kernel.release)], default=None)


def downloaded() -> Path:
    """Where the kernel package was unpacked; it is downloaded when that has not been done."""
    present = next(machine.CACHE.glob("packages/linux-image-*/boot"), None)
    if present:
        return present.parent
    machine.retried(["apt-get", "update", "-qq"])
    shown = subprocess.run(["apt-cache", "depends", META_PACKAGE], capture_output=True, text=True, check=False).stdout
    found = re.search(r"Depends: (linux-image-\S+-cloud-amd64)$", shown, re.MULTILINE)
    package = found and machine.unpacked_package([found[1]], "boot")
    return package or Path("/nonexistent")


def disk_modules(kernel: Kernel, into: Path) -> None:
    """Put the modules of :data:`DISK_MODULES`, and what they need, uncompressed into a directory.

    Their order of loading is written to ``order``.
    """
    into.mkdir()
    names: list[str] = []
    for path in dict.fromkeys(path for module in DISK_MODULES for path in needed(kernel, module)):
        name = path.name.removesuffix(".xz")
        if path.suffix == ".xz":
            (into / name).write_bytes(lzma.decompress(path.read_bytes()))
        else:
            shutil.copy(path, into / name)
        names.append(name)
    (into / "order").write_text("\n".join(names) + "\n")


def needed(kernel: Kernel, module: str) -> Iterator[Path]:
    """The files of a module and of those it depends on, in the order of loading."""
    command = ["modprobe", "-d", str(tree_of(kernel)), "-S", kernel.release, "--show-depends", module]
    done = subprocess.run(command, env=found_in_sbin(), capture_output=True, text=True, check=True)
    for line in done.stdout.splitlines():
        kind, _, path = line.partition(" ")
        if kind == "insmod":
            yield Path(path.split()[0])


if __name__ == "__main__":
    print(f"kernel {find().release}")
