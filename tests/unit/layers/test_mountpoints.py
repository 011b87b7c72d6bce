"""What an image lacks to be a container's root is added by one more layer, made once."""

import os
from pathlib import Path

from wherry.layers.mountpoints import make_mountpoints


def image(tmp_path: Path, *names: str) -> list[str]:
    root = tmp_path / "image"
    root.mkdir(mode=0o755)
    for name in names:
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return [str(root)]


def made(tmp_path: Path, layers: list[str]) -> list[str]:
    target = tmp_path / "made"
    make_mountpoints(layers, target)
    return sorted(str(path.relative_to(target)) for path in target.rglob("*"))


def test_an_empty_image_gets_all_of_them(tmp_path: Path) -> None:
    expected = ["dev", "etc", "etc/hostname", "etc/hosts", "etc/resolv.conf", "proc", "sys"]
    assert made(tmp_path, image(tmp_path)) == expected


def test_what_is_there_is_left_alone(tmp_path: Path) -> None:
    full = image(tmp_path, "dev/", "proc/", "sys/", "etc/hosts", "etc/hostname", "etc/resolv.conf")
    assert made(tmp_path, full) == []


def test_a_directory_keeps_its_looks(tmp_path: Path) -> None:
    layers = image(tmp_path, "etc/passwd", "dev/", "proc/", "sys/")
    etc = Path(layers[0]) / "etc"
    etc.chmod(0o750)
    os.utime(etc, (1, 2))
    assert made(tmp_path, layers) == ["etc", "etc/hostname", "etc/hosts", "etc/resolv.conf"]
    status = (tmp_path / "made" / "etc").stat()
    assert (status.st_mode & 0o7777, status.st_mtime) == (0o750, 2)


def test_nothing_is_made_through_a_link(tmp_path: Path) -> None:
    layers = image(tmp_path, "dev/", "proc/", "sys/")
    (Path(layers[0]) / "etc").symlink_to("/somewhere")
    assert made(tmp_path, layers) == []
