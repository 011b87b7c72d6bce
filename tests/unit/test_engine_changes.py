"""What the engine makes to mount things on is no change of the container's."""

from pathlib import Path

from wherry.engine.changes import own_changes
from wherry.layers.overlay import OverlayMount


def shown(tmp_path: Path) -> list[str]:
    mount = OverlayMount("/", (str(tmp_path / "lower"),), str(tmp_path / "upper"), str(tmp_path / "work"))
    return [f"{'CAD'[change.kind]} {change.path}" for change in own_changes([mount])]


def make(tmp_path: Path, *files: str, at: str = "upper") -> None:
    for name in files:
        path = tmp_path / at / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


def test_places_to_mount_on_are_hidden(tmp_path: Path) -> None:
    make(tmp_path, "etc/passwd", at="lower")
    make(tmp_path, "etc/hosts", "etc/hostname", "etc/resolv.conf", "proc/", "sys/", "dev/")
    assert shown(tmp_path) == []


def test_what_the_container_did_beside_them_is_shown(tmp_path: Path) -> None:
    make(tmp_path, "etc/passwd", at="lower")
    make(tmp_path, "etc/hosts", "etc/mine", "proc/", "data/")
    assert sorted(shown(tmp_path)) == ["A /data", "A /etc/mine", "C /etc"]


def test_a_file_of_that_name_with_something_in_it_is_the_containers(tmp_path: Path) -> None:
    make(tmp_path, "etc/hosts", at="lower")
    make(tmp_path, "etc/hosts")
    (tmp_path / "upper/etc/hosts").write_text("1.2.3.4 x\n")
    assert "C /etc/hosts" in shown(tmp_path)
