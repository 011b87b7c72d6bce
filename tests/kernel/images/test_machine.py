"""The image store with real images, other tools, the built-in image, and violent deaths."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from machine import static_busybox
from quiet import in_time
from support.archives import directory, docker_archive, link, member, tar
from support.needs import need, shared
from wherry.errors import Conflict, InvalidInput
from wherry.images import host_image
from wherry.images.store import ImageStore
from wherry.layers.export import export
from wherry.oci.digest import Digest

pytestmark = need("root")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ImageStore]:
    opened = ImageStore(tmp_path / "data")
    yield opened
    opened.close()


def busybox_layer() -> bytes:
    path = static_busybox()
    assert path is not None
    links = [link(f"bin/{name}", "busybox") for name in ("sh", "ls", "true")]
    return tar([directory("bin"), member("bin/busybox", Path(path).read_bytes(), mode=0o755), *links])


# --- the built-in image -----------------------------------------------------------------------------------------------


def test_the_host_image_is_there_from_the_start_and_costs_no_time_when_nothing_changed(store: ImageStore) -> None:
    store.reconcile()
    image = store.resolve("host")
    assert image.repo_tags == ["host:latest"]
    assert image.config["Cmd"] == ["sh"]
    before = time.process_time()
    store.reconcile()
    assert store.resolve("host") == image
    spent = time.process_time() - before
    in_time(spent < 1, f"{spent:.1f} s of processor time")


def test_the_host_image_has_the_hosts_programs_and_none_of_its_data(store: ImageStore, tmp_path: Path) -> None:
    store.reconcile()
    [root, usr, *_] = store.overlay(store.id_of("host"), tmp_path / "c")
    assert (root.target, usr.target, usr.lower) == ("/", "/usr", ("/usr",))
    layer = Path(root.lower[-1])
    names = {str(path.relative_to(layer)) for path in layer.rglob("*")}
    assert {"etc/passwd", "etc/group", "etc/nsswitch.conf", "tmp", "proc", "sys", "dev", "usr"} <= names
    for secret in (
        "etc/shadow",
        "etc/gshadow",
        "etc/hostname",
        "etc/fstab",
        "etc/ssh",
        "etc/ssl/private",
        "etc/sudoers",
    ):
        assert secret not in names
    assert (layer / "tmp").stat().st_mode & 0o7777 == 0o1777
    assert os.listdir(layer / "root") == os.listdir(layer / "home") == os.listdir(layer / "usr") == []
    assert all(
        path.lstat().st_mode & 0o004 for path in (layer / "etc").rglob("*") if path.is_file() and not path.is_symlink()
    )


def test_the_host_image_runs_programs_and_can_be_written_to(store: ImageStore, tmp_path: Path) -> None:
    store.reconcile()
    mounts = store.overlay(store.id_of("host"), tmp_path / "c")
    merged = tmp_path / "merged"
    merged.mkdir()
    script = "".join(
        f"mount -t overlay o -o lowerdir={':'.join(m.lower)},upperdir={m.upper},workdir={m.work} {merged}{m.target} && "
        for m in mounts
    )
    inside = 'id -u && touch /usr/local/mine && ls /etc/passwd && awk "BEGIN{print 7}"'
    script += f"exec chroot {merged} /bin/sh -c '{inside}'"
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["0", "/etc/passwd", "7"], done.stderr
    assert not Path("/usr/local/mine").exists()
    assert (Path(mounts[1].upper) / "local" / "mine").exists()


def test_a_host_whose_directories_are_not_merged_gets_a_part_for_each(tmp_path: Path) -> None:
    for name in ("usr", "bin", "lib", "etc"):
        (tmp_path / name).mkdir()
    (tmp_path / "lib64").symlink_to("usr/lib64")
    (tmp_path / "etc" / "passwd").write_text("root:x:0:0::/root:/bin/sh\nme:x:1000:1000::/home/me:/bin/sh\n")
    assert host_image.parts(tmp_path) == ["/usr", "/bin", "/lib"]
    with tarfile.open(fileobj=io.BytesIO(host_image.skeleton(tmp_path))) as archive:
        assert archive.getmember("bin").isdir()
        assert archive.getmember("lib64").linkname == "usr/lib64"
        passwd = archive.extractfile("etc/passwd")
        assert passwd is not None
        assert passwd.read() == b"root:x:0:0::/root:/bin/sh\n"
    assert host_image.skeleton(tmp_path) == host_image.skeleton(tmp_path)


def test_the_host_image_cannot_be_removed_saved_or_replaced(store: ImageStore) -> None:
    store.reconcile()
    with pytest.raises(Conflict, match="cannot be forced"):
        store.remove("host", force=True, in_use=lambda _: [])
    with pytest.raises(InvalidInput, match="this machine itself"):
        store.save(["host"], lambda _: None)
    with pytest.raises(InvalidInput, match="reserved name"):
        list(store.load(io.BytesIO(docker_archive([tar([])], ["host"]))))
    store.prune({"dangling": ["false"]}, in_use=lambda _: [])
    assert store.resolve("host")


# --- real images, other tools -----------------------------------------------------------------------------------------


@need("shared")
def test_the_official_busybox_is_loaded_for_either_platform(store: ImageStore) -> None:
    path = next((shared() / "images").glob("busybox-*.oci.tar"))
    for platform, architecture in (("linux/arm64", "arm64"), ("linux/amd64", "amd64")):
        with path.open("rb") as stream:
            steps = list(store.load(stream, [platform]))
        assert steps[-1] == {"stream": "Loaded image: busybox:latest\n"}
        assert store.resolve("busybox").architecture == architecture


@need("shared")
def test_alpines_root_file_system_comes_out_as_it_went_in(store: ImageStore, tmp_path: Path) -> None:
    path = next((shared() / "images").glob("alpine-minirootfs-*-x86_64.tar.gz"))
    with path.open("rb") as stream:
        store.import_(stream, "alpine")
    pieces: list[bytes] = []
    export(store.overlay(store.id_of("alpine"), tmp_path / "c"), pieces.append)

    def listing(archive: tarfile.TarFile) -> set[tuple[object, ...]]:
        return {
            (i.name.removeprefix("./"), i.mode, i.uid, i.gid, i.size, i.linkname, int(i.mtime))
            for i in archive
            if i.name.removeprefix("./") not in (".", "etc/resolv.conf")  # a place to mount on, which Alpine lacks
        }

    with tarfile.open(path) as original, tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as ours:
        assert listing(ours) == listing(original)


@need("skopeo", "busybox")
def test_skopeo_reads_what_is_saved_and_the_store_itself(store: ImageStore, tmp_path: Path) -> None:
    list(store.load(io.BytesIO(docker_archive([busybox_layer()], ["app:1"]))))
    saved = tmp_path / "saved.tar"
    with saved.open("wb") as file:
        store.save(["app:1"], file.write)
    sources = (
        f"docker-archive:{saved}",
        f"oci-archive:{saved}",
        f"oci:{store.content.root}:docker.io/library/app:1",
    )
    for number, source in enumerate(sources):
        out = tmp_path / str(number)
        subprocess.run(["skopeo", "--insecure-policy", "copy", "-q", source, f"dir:{out}"], check=True)
        manifest = json.loads((out / "manifest.json").read_text())
        assert manifest["config"]["digest"] == store.id_of("app:1")


@need("skopeo", "busybox")
@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive"])
def test_what_skopeo_writes_is_loaded(store: ImageStore, tmp_path: Path, kind: str) -> None:
    source = tmp_path / "source.tar"
    source.write_bytes(docker_archive([busybox_layer(), tar([member("x", b"y")])], ["app:1"]))
    target = tmp_path / "target.tar"
    name = "docker.io/library/copy:2"
    command = ["skopeo", "--insecure-policy", "copy", "-q", f"docker-archive:{source}", f"{kind}:{target}:{name}"]
    subprocess.run(command, check=True)
    with target.open("rb") as stream:
        assert list(store.load(stream))[-1] == {"stream": "Loaded image: copy:2\n"}
    assert len(store.resolve("copy:2").layers) == 2


# --- violent deaths ---------------------------------------------------------------------------------------------------

LOADER = """
import sys
from pathlib import Path
from wherry.images.store import ImageStore
store = ImageStore(Path(sys.argv[1]))
store.reconcile()
print("ready", flush=True)
while True:
    for path in sys.argv[2:]:
        with open(path, "rb") as stream:
            for step in store.load(stream):
                pass
    for image in store.list():
        if not image.built_in:
            store.remove(image.id, force=True, in_use=lambda _: [])
"""


def check_whole(root: Path) -> None:
    store = ImageStore(root)
    store.reconcile()
    try:
        chains = {layer.chain_id for image in store.list() for layer in image.layers}
        blobs: set[Digest] = set()
        for image in store.list():
            blobs |= {image.id, image.manifest_digest, *(layer.digest for layer in image.manifest.layers)}
            for layer in image.layers:
                assert image.built_in or len(list((store.layers.path(layer) / "d").iterdir())) == 100
        assert os.listdir(root / "tmp") == []
        assert {d for d, _ in store.content.walk()} == blobs
        assert {layer.chain_id for layer in store.layers} == chains
        assert set(os.listdir(root / "layers")) == {"0", *(str(layer.number) for layer in store.layers)}
        for digest in blobs:
            digest.verify(store.content.path(digest).read_bytes())
        names = {m.get("annotations", {}).get("io.containerd.image.name") for m in
                 json.loads((root / "content/index.json").read_text())["manifests"]}  # fmt: skip
        assert names - {None} == {str(name) for image in store.list() for name in image.names}
    finally:
        store.close()


def test_after_kill_nine_at_any_moment_everything_is_whole_or_gone(tmp_path: Path) -> None:
    layers = [
        tar([member(f"f{n}", os.urandom(50_000)), *(member(f"d/{i}", b"x") for i in range(100))]) for n in range(4)
    ]
    archives = []
    for number in range(3):
        path = tmp_path / f"{number}.tar"
        path.write_bytes(docker_archive(layers[: number + 2], [f"app:{number}"]))
        archives.append(str(path))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    moments = random.Random(7)
    for _ in range(12):
        command = [sys.executable, "-c", LOADER, str(tmp_path / "data"), *archives]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(moments.uniform(0, 0.3))  # a random moment is what this test is about
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        check_whole(tmp_path / "data")
