"""``wherry build --output``: results that come to this side, from a real daemon."""

from __future__ import annotations

import io
import json
import os
import signal
import stat
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.busybox import busybox_daemon
from support.daemons import Daemon
from support.needs import need

pytestmark = need("root", "busybox", "overlay", "namespaces")

DOCKERFILE = r"""
FROM busybox:latest AS made
RUN mkdir -p /out/sub /out/closed && cd /out && echo of the step > sub/file && ln sub/file sub/same \
  && ln -s /etc/passwd absolute && ln -s ../../../../etc up && echo tool > tool && chmod 6755 tool \
  && mknod null c 1 3 && mkfifo fifo && chown 1234:1234 tool sub && echo x > closed/x && chmod 0555 closed \
  && dd if=/dev/zero of=large bs=1M count=20 2>/dev/null
FROM scratch
COPY --from=made /out /
"""


@pytest.fixture(scope="module")
def daemon(busybox_archive: bytes) -> Iterator[Daemon]:
    """One for all of these."""
    with busybox_daemon(busybox_archive) as one:
        yield one


def build(daemon: Daemon, *words: str, dockerfile: str = DOCKERFILE) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "wherry.cli.main", "-H", daemon.host, "build", "--progress", "plain", *words, "-"]
    return subprocess.run(
        command, env=daemon.environment, input=dockerfile.encode(), capture_output=True, check=False, timeout=300
    )


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.05)


def check(root: Path) -> None:
    """What the Dockerfile makes, as it is to be on this side."""
    assert (root / "sub/file").read_text() == "of the step\n"
    assert (root / "sub/file").stat().st_ino == (root / "sub/same").stat().st_ino
    assert os.readlink(root / "absolute") == "/etc/passwd"
    assert os.readlink(root / "up") == "../../../../etc"
    tool = (root / "tool").lstat()
    assert (stat.S_IMODE(tool.st_mode), tool.st_uid, tool.st_gid) == (0o755, os.getuid(), os.getgid())
    assert (root / "sub").stat().st_uid == os.getuid()
    assert (root / "closed/x").read_text() == "x\n"
    assert (root / "large").stat().st_size == 20 << 20
    assert not (root / "null").exists()
    assert not (root / "fifo").exists()


@pytest.mark.parametrize("word", ["type=local,dest={}", "{}"])
def test_files_come_into_a_directory_beside_what_is_there(daemon: Daemon, tmp_path: Path, word: str) -> None:
    out = tmp_path / "new" / "out"
    done = build(daemon, "-o", word.format(out))
    assert (done.returncode, done.stdout) == (0, b""), done.stderr
    check(out)
    (out / "mine").write_text("kept")
    (out / "tool").unlink()
    (out / "tool").symlink_to("mine")
    again = build(daemon, "-o", str(out))
    assert again.returncode == 0, again.stderr
    check(out)
    assert (out / "mine").read_text() == "kept"
    assert daemon.request("GET", "/images/json").json is not None


def test_an_archive_goes_to_a_file_or_to_standard_output(daemon: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "out.tar"
    assert build(daemon, "-o", f"type=tar,dest={file}").returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out.tar"]
    shown = build(daemon, "-q", "-o", "-")
    assert shown.returncode == 0
    for content in (file.read_bytes(), shown.stdout):
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            names = archive.getnames()
            assert {"sub/file", "absolute", "null"} <= set(names)
            assert archive.getmember("tool").uid == 1234


@pytest.mark.parametrize("kind", ["oci", "docker"])
def test_an_image_goes_to_a_file_and_can_be_loaded(daemon: Daemon, tmp_path: Path, kind: str) -> None:
    file = tmp_path / "image.tar"
    words = ["-t", f"as-{kind}:1", "--metadata-file", str(tmp_path / "meta"), "-o", f"type={kind},dest={file}"]
    done = build(daemon, *words, dockerfile="FROM busybox:latest\nCMD echo loaded\n")
    assert done.returncode == 0, done.stderr
    assert "containerimage.digest" in json.loads((tmp_path / "meta").read_text())
    assert daemon.cli("image", "inspect", f"as-{kind}:1").returncode == 1
    assert daemon.cli("load", "-i", str(file)).returncode == 0
    assert daemon.cli("run", "--rm", "--network", "none", f"as-{kind}:1").stdout == "loaded\n"


def test_an_image_goes_into_a_layout_which_another_build_begins_with(daemon: Daemon, tmp_path: Path) -> None:
    root = tmp_path / "layout"
    for number in "12":
        words = ["-t", f"in-layout:{number}", "-o", f"type=oci,tar=false,dest={root}"]
        done = build(daemon, *words, dockerfile=f"FROM busybox:latest\nRUN echo {number} > /mine\n")
        assert done.returncode == 0, done.stderr
    words = ["--no-cache", "--build-context", f"base=oci-layout://{root}:1", "-o", "type=cacheonly"]
    done = build(daemon, *words, dockerfile="FROM base\nRUN grep 1 /mine\n")
    assert done.returncode == 0, done.stderr
    for blob in (root / "blobs/sha256").iterdir():
        blob.write_bytes(b"something else")
    failed = build(daemon, "--build-context", f"base=oci-layout://{root}:2", dockerfile="FROM base\n")
    assert (failed.returncode, b"has digest" in failed.stderr) == (1, True), failed.stderr


def test_cache_goes_into_a_directory_from_which_another_daemon_takes_it(
    daemon: Daemon, busybox_archive: bytes, tmp_path: Path
) -> None:
    """Under its tags, beside what is there; a blob that is damaged is noticed, and what it was of is built."""
    place = tmp_path / "cache"
    for number in "12":
        text = f"FROM busybox:latest\nRUN echo cached-{number} > /mine\nRUN cat /mine\n"
        done = build(daemon, "--cache-to", f"type=local,dest={place},mode=max,tag=t{number}", dockerfile=text)
        assert done.returncode == 0, done.stderr
    names = [one["annotations"] for one in json.loads((place / "index.json").read_text())["manifests"]]
    assert [name["org.opencontainers.image.ref.name"] for name in names] == ["t1", "t2"]
    with busybox_daemon(busybox_archive) as other:
        taken = [f"--cache-from=type=local,src={place},tag=t{number}" for number in "12"]
        done = build(other, *taken, "--cache-from", f"type=local,src={tmp_path}/none", dockerfile=text)
        assert (done.returncode, done.stderr.count(b" CACHED\n")) == (0, 3), done.stderr
        assert f"importing cache manifest from {place}:t2".encode() in done.stderr
        other.docker("builder", "prune", "-af", check=True)
        for blob in (place / "blobs/sha256").iterdir():
            blob.write_bytes(bytes(blob.stat().st_size))
        done = build(other, *taken, dockerfile=text)
        assert (done.returncode, b"cached-2\n" in done.stderr) == (0, True), done.stderr


def test_several_outputs_are_made_by_one_build(daemon: Daemon, tmp_path: Path) -> None:
    words = ["-t", "beside:1", "-o", f"{tmp_path}/files", "-o", f"type=oci,dest={tmp_path}/oci", "-o", "type=image"]
    done = build(daemon, *words, "-o", "-")
    assert done.returncode == 0, done.stderr
    check(tmp_path / "files")
    assert tarfile.is_tarfile(tmp_path / "oci")
    assert tarfile.is_tarfile(io.BytesIO(done.stdout))
    assert daemon.cli("image", "inspect", "beside:1").returncode == 0


def test_each_platform_has_a_directory(daemon: Daemon, tmp_path: Path) -> None:
    words = ["--platform", "linux/amd64", "--platform", "linux/arm64", "-o", str(tmp_path / "out")]
    done = build(daemon, *words, dockerfile="FROM scratch\nADD --chmod=644 <<EOF /x\nx\nEOF\n")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["linux_amd64", "linux_arm64"]
    assert (tmp_path / "out/linux_arm64/x").read_text() == "x\n"


def test_a_result_that_cannot_be_written_fails_the_build_and_leaves_nothing(daemon: Daemon, tmp_path: Path) -> None:
    before = daemon.cli("image", "ls", "-q", "--no-trunc").stdout
    (tmp_path / "file").write_text("")
    for word in (f"{tmp_path}/file", f"type=tar,dest={tmp_path}", f"type=tar,dest={tmp_path}/none/x", "type=local"):
        done = build(daemon, "-o", word)
        assert done.returncode == 1
        assert b"#1" not in done.stderr, "it is found out before anything is built"
    full = build(daemon, "-o", "type=tar,dest=/dev/full")
    assert full.returncode == 1
    assert b"no space left on device" in full.stderr.lower()
    failed = build(daemon, "-o", f"type=tar,dest={tmp_path}/never", dockerfile="FROM busybox:latest\nRUN exit 3\n")
    assert failed.returncode == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]
    assert daemon.cli("image", "ls", "-q", "--no-trunc").stdout == before
    wait_for(lambda: daemon.unfinished() == [])


def test_an_output_that_nobody_reads_any_more_ends_the_build(daemon: Daemon) -> None:
    command = [
        sys.executable,
        "-m",
        "wherry.cli.main",
        "-H",
        daemon.host,
        "build",
        "--progress",
        "quiet",
        "-o",
        "-",
        "-",
    ]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=daemon.environment, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(DOCKERFILE.encode())
        process.stdin.close()
        assert process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        wait_for(lambda: daemon.cli("build", "inspect", "--format", "{{.Status}}").stdout == "canceled\n")
        process.stdout.close()
        assert process.wait(120) != 0
    wait_for(lambda: daemon.unfinished() == [])
