"""Checkpoints with a criu that is missing, hangs, dies or lies: the container goes on, or never comes to be."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.needs import need
from support.oci_command import Bundles, bundles_in
from wherry.errors import Unavailable
from wherry.ociruntime.container import Container
from wherry.ociruntime.verbs.checkpoint import target_of
from wherry.runtime.criu import dump
from wherry.runtime.criu.common import Common

pytestmark = need("root", "busybox")

SOURCE = Path(__file__).resolve().parents[2] / "src"
LIAR = f"""#!{sys.executable}
import socket, sys
sys.path.insert(0, {str(SOURCE)!r})
from wherry.runtime.criu.wire import encode
end = socket.socket(fileno=int(sys.argv[2]))
end.recv(1 << 16)
end.send(encode([(1, 2), (2, True), (4, [(1, 1)])]))
"""
CRIUS = {
    "dies": "#!/bin/sh\nkill -9 $$\n",
    "ends": "#!/bin/sh\nexit 0\n",
    "babbles": f"#!{sys.executable}\nimport os, sys\nos.write(int(sys.argv[2]), b'\\xff' * 70000)\n",
    "is no program": "hello",
}


@pytest.fixture
def oci(tmp_path: Path) -> Iterator[Bundles]:
    """Bundles, and the command."""
    with bundles_in(tmp_path) as bundles:
        yield bundles


@pytest.fixture
def running(oci: Bundles) -> Bundles:
    """The same, with a container that runs."""
    oci.bundle("one", "sleep", "1000")
    oci.create("one", start=True)
    return oci


def script(directory: Path, text: str) -> str:
    """Make a program."""
    path = directory / "criu"
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("how", CRIUS)
def test_a_criu_that_fails_leaves_the_container_running(running: Bundles, tmp_path: Path, how: str) -> None:
    criu = script(tmp_path, CRIUS[how])
    failed = running("--criu", criu, "checkpoint", "--image-path", str(tmp_path / "images"), "one")
    assert failed.returncode == 1
    assert "criu" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert running.state("one")["status"] == "running"


def test_without_criu_it_is_said_what_is_missing(running: Bundles, tmp_path: Path) -> None:
    failed = running("--criu", str(tmp_path / "none"), "checkpoint", "--image-path", str(tmp_path / "images"), "one")
    assert "there is no program" in failed.stderr
    assert not (tmp_path / "images").exists()
    assert "--lazy-pages" in running("checkpoint", "--lazy-pages", "one").stderr
    assert running.state("one")["status"] == "running"


def test_a_criu_that_hangs_is_ended(running: Bundles, tmp_path: Path) -> None:
    criu = script(tmp_path, "#!/bin/sh\nexec sleep 1000\n")
    with Container.open(str(running.root), "one", lock=False) as container:
        target = target_of(container, container.read())
    with pytest.raises(Unavailable, match="has written nothing"):
        dump.dump(target, dump.Wanted(Common(str(tmp_path / "images"), criu=criu, patience=0.05)))
    assert running.state("one")["status"] == "running"


def test_what_a_criu_has_frozen_that_dies_goes_on(running: Bundles, tmp_path: Path) -> None:
    with Container.open(str(running.root), "one", lock=False) as container:
        freezer = container.read().freezer
    word = "1" if freezer.endswith("cgroup.freeze") else "FROZEN"
    criu = script(tmp_path, f"#!/bin/sh\necho {word} >{freezer}\nkill -9 $$\n")
    assert running("--criu", criu, "checkpoint", "--image-path", str(tmp_path / "images"), "one").returncode == 1
    assert running.state("one")["status"] == "running"


def test_a_restore_that_only_says_it_succeeded_makes_no_container(oci: Bundles, tmp_path: Path) -> None:
    bundle = oci.bundle("two", "sleep", "1000")
    (tmp_path / "images").mkdir()
    (tmp_path / "images/inventory.img").touch()
    criu = script(tmp_path, LIAR)
    failed = oci("--criu", criu, "restore", "-d", "--image-path", str(tmp_path / "images"), "-b", str(bundle), "two")
    assert "restored nothing" in failed.stderr
    assert oci.left() == []


def test_what_is_no_image_is_not_restored(oci: Bundles, tmp_path: Path) -> None:
    bundle = oci.bundle("two", "sleep", "1000")
    criu = script(tmp_path, CRIUS["ends"])
    (tmp_path / "images").mkdir()
    (tmp_path / "images/inventory.img").symlink_to("/nowhere")
    (tmp_path / "link").symlink_to(tmp_path / "images")
    for path, said in (("images", "criu failed"), ("link", "is no directory"), ("none", "there is no image")):
        failed = oci("--criu", criu, "restore", "-d", "--image-path", str(tmp_path / path), "-b", str(bundle), "two")
        assert (failed.returncode, said in failed.stderr) == (1, True), failed
    assert oci.left() == []


def test_a_mount_that_the_specification_lacks_is_not_made_up(oci: Bundles, tmp_path: Path) -> None:
    """An image that wants the host's root as a part of a bind gets a part of that bind, or nothing."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/out").symlink_to("/etc")
    bundle = oci.bundle("two", "sleep", "1000")
    images = tmp_path / "images"
    images.mkdir()
    (images / "inventory.img").touch()
    criu = script(tmp_path, CRIUS["ends"])
    for row in ('["/x", "/data", "out"]', '["/x", "/etc", ""]'):
        (images / "external.json").write_text(f'{{"mounts": [{row}]}}')
        failed = oci("--criu", criu, "restore", "-d", "--image-path", str(images), "-b", str(bundle), "two")
        assert "the image needs" in failed.stderr
    assert oci.left() == []
