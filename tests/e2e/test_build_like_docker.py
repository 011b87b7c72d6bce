"""Dockerfiles as people write them, built here and, where there is one, by the BuildKit in Docker's own daemon.

What a container would see is the same: configuration and files. What differs is written here, with its reason.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.archives import directory, link, member, tar
from support.busybox import import_busybox
from support.daemons import Daemon, DockerDaemon, docker_environment
from support.needs import need, old_docker

pytestmark = need("root", "busybox", "overlay", "namespaces", "dockerd", "old-docker")

Engine = Daemon | DockerDaemon
File = tuple[str, int, int, int, str]
NAME = "like-docker:1"
LEFT = ("dev", "proc", "run", "sys", "etc/hosts", "etc/resolv.conf")
"""Places of mounts: the BuildKit of Docker 20.10 leaves them in its layers; later ones remove them, and so do we."""

DOCKERFILES = {
    "an application": """\
ARG TAG=latest
FROM busybox:${TAG} AS build
ARG VERSION=1.2.3
WORKDIR /src
COPY lib ./lib
COPY . .
RUN --mount=type=cache,target=/var/cache/x mkdir out && echo "v$VERSION" > out/app && chmod 755 out/app
FROM busybox:${TAG}
ARG VERSION
LABEL org.opencontainers.image.title="app" \\
      org.opencontainers.image.version="${VERSION:-dev}"
RUN mkdir -p /games/app && chown 7:8 /games/app && chmod 2755 /games/app
COPY --from=build --chown=7:8 /src/out/app /usr/local/bin/app
USER 7:8
WORKDIR /games/app/state
EXPOSE 8080/tcp 9090 53/udp
VOLUME ["/data", "/var/lib/app"]
HEALTHCHECK --interval=30s --timeout=3s --retries=3 CMD wget -qO- http://localhost:8080/ || exit 1
STOPSIGNAL SIGQUIT
ENTRYPOINT ["/usr/local/bin/app"]
CMD ["--help"]
""",
    "words and variables": """\
FROM busybox
MAINTAINER Jane Doe <jane@example.com>
ENV FOO bar   baz
ARG X
ARG Y=def
# between
ENV XY=${X:-x}-${Y:+set} \\
# within
    B="x\\ny" C='single $FOO' D=un\\"q E="q'q" F=$FOO:$Y

LABEL a=b c="d e" "f g"=h multi="line1 \\
line2"
LABEL m "multi word"
WORKDIR rel
WORKDIR sub/../other
RUN printf '%s|' "$FOO" "$XY" "$B" "$C" "$D" "$E" "$F" > env; pwd > pwd
EXPOSE 80 443/TCP 7000-7003
VOLUME /v1 /v2
ENTRYPOINT echo hello
CMD ["a"]
""",
    "shells and commands": """\
FROM busybox
SHELL ["/bin/sh", "-eu", "-c"]
RUN echo $0 > /shell
CMD echo 1
CMD run "$X"
HEALTHCHECK --interval=1h5m --timeout=500ms --start-period=1m --retries=5 \\
  CMD ["true", "x"]
ENTRYPOINT ["x"]
ENTRYPOINT []
RUN ["touch", "/exec form"]
USER 4000
RUN id -u > /tmp/who; umask > /tmp/umask; echo "$HOME" > /tmp/home
""",
    "owners and modes": """\
FROM busybox AS from
RUN mkdir -p /o/d && chown 5:6 /o && touch /o/1 && chmod 4755 /o/1 && ln -s 1 /o/link && ln /o/1 /o/hard
FROM busybox
RUN mkdir /o5
COPY --from=from /o /o
COPY --from=from --chown=root:root /o /o2
COPY --from=from --chown=7 /o /o3
COPY --from=from --chown=guest /o/1 /o4/new/
COPY --chmod=0640 lib/one.txt /o5/
COPY --from=from /o/link /o6
COPY --chown=9:9 lib /o7/deep
""",
    "places": """\
FROM busybox
RUN mkdir -p /real/sub && ln -s /real /ln && ln -s real/sub /ln2 && ln -s /not/there /dangling
RUN echo old > /real/one.txt
COPY lib /ln
COPY lib/ /ln2/
COPY lib/one.txt /dangling/x/
COPY lib/one.txt /ln/new/
COPY to-file /resolved
COPY to-lib /from-link
COPY li?/*.txt lib/sub /glob/
COPY ["with space/a b.txt", "/dst dir/"]
WORKDIR /w
COPY lib ../out
COPY lib/sub .
COPY . .
""",
    "archives": """\
FROM busybox
ADD packed.tar /a/
ADD packed.tar lib/one.txt b/
ADD lib /c
COPY packed.tar /d/
""",
    "what goes": """\
FROM busybox
RUN echo 1 > /etc/one && echo 2 > /etc/two && mkdir -p /x/y/z
RUN rm /etc/one && mv /etc/two /etc/three && rm -rf /x && mkdir /x && chmod 711 /x && rm -rf /root && ln -s /tmp /root
COPY lib /x/
RUN mknod /node c 1 3 && mkfifo /pipe && ln -s x /sl && chown -h 9:9 /sl && mkdir /opt
RUN cp /x/one.txt /opt/bb && ln /opt/bb /opt/b2
RUN mv /x /moved && rm /node /pipe /sl && mkdir /sl && touch -d '2001-01-01 00:00:00' /opt/bb
""",
    "stages": """\
FROM busybox AS one
ONBUILD COPY lib/one.txt /from-trigger
ONBUILD RUN echo trigger > /ran
ENV A=1 PATH=/own:$PATH
CMD ["c"]
ENTRYPOINT ["e"]
FROM one AS two
ENTRYPOINT ["e2"]
ENV B=$A A=2 C=$A
RUN rm /from-trigger && echo $A$B$C > /v
FROM busybox AS unused
RUN false
FROM scratch
COPY --from=two / /
COPY --from=0 /bin/busybox /one-busybox
ENV X=1
""",
}


@pytest.fixture(scope="module", autouse=True)
def engines(daemon: Daemon, dockerd: DockerDaemon, busybox_archive: bytes) -> Iterator[tuple[Engine, Engine]]:
    """Both, with the image."""
    for engine in (daemon, dockerd):
        import_busybox(engine, busybox_archive)
    yield daemon, dockerd
    for engine in (daemon, dockerd):
        engine.request("DELETE", f"/images/{NAME}", force=True)


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """A directory with something of everything."""
    root = tmp_path / "context"
    (root / "lib/sub/.hidden").mkdir(parents=True)
    (root / "lib/one.txt").write_text("one")
    (root / "lib/one.txt").chmod(0o600)
    (root / "lib/sub/up").symlink_to("../one.txt")
    (root / "lib/sub/.hidden/x").write_text("x")
    (root / "lib/sub").chmod(0o750)
    (root / "to-file").symlink_to("lib/one.txt")
    (root / "to-lib").symlink_to("lib")
    (root / "with space").mkdir()
    (root / "with space/a b.txt").write_text("ab")
    (root / "ignored").mkdir()
    (root / "ignored/kept").write_text("kept")
    (root / "ignored/dropped").write_text("dropped")
    (root / "a.log").write_text("log")
    entries = [directory("x", uid=7, gid=8), member("x/f", b"f", uid=7, mode=0o640), link("x/l", "f")]
    (root / "packed.tar").write_bytes(tar([*entries, link("x/hard", "x/f", hard=True, uid=7, mode=0o640)]))
    (root / ".dockerignore").write_text("# comment\n**/*.log\nignored/*\n!ignored/kept\nDockerfile\n")
    return root


@pytest.mark.parametrize("text", DOCKERFILES.values(), ids=DOCKERFILES)
def test_what_is_built_is_what_docker_builds(
    engines: tuple[Engine, Engine], context: Path, tmp_path: Path, text: str
) -> None:
    (context / "Dockerfile").write_text(text)
    ours, theirs = (built(engine, context, tmp_path) for engine in engines)
    assert ours[0] == theirs[0]
    names = {name for found in (ours[1], theirs[1]) for name in found if not name.startswith(LEFT)}
    different = {name: (ours[1].get(name), theirs[1].get(name)) for name in sorted(names)}
    assert {name: both for name, both in different.items() if both[0] != both[1]} == {}


LINES = """\
# a comment
ARG TAG=latest
FROM busybox:${TAG} AS one
ARG V=1
ENV A=b \\
    C=$V
RUN echo one; \\
    echo more
RUN echo two >&2
FROM busybox
WORKDIR /made/here
COPY --from=one /bin/busybox /bb
ADD lib/one.txt /f
EXPOSE 80
VOLUME /v
USER 1:1
ONBUILD RUN echo "trig $A"; exit 3
CMD ["x"]
"""


def test_what_the_classic_builder_says_is_what_docker_says(
    engines: tuple[Engine, Engine], context: Path, tmp_path: Path
) -> None:
    """But for the IDs; what a trigger that fails says as well."""
    (context / "Dockerfile").write_text(LINES)
    (context / "Dockerfile.more").write_text(f"FROM {NAME}\nRUN never\n")
    ours, theirs = (
        [
            said(engine, context, tmp_path, "--no-cache", "--build-arg=NOBODY=1", "--label=l=m", "-t", NAME),
            said(engine, context, tmp_path, "--target=one"),
            said(engine, context, tmp_path, "--force-rm", "-f", str(context / "Dockerfile.more")),
        ]
        for engine in engines
    )
    assert ours == theirs


def said(engine: Engine, context: Path, home: Path, *words: str) -> list[str]:
    """The lines of a build by the classic API, the IDs left out."""
    command = [old_docker(), "build", "--network", "none", *words, str(context)]
    environment = {**docker_environment(f"unix://{engine.socket}", home), "DOCKER_BUILDKIT": "0"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    return re.sub(r"\b[0-9a-f]{12}\b", "ID", done.stdout + done.stderr).splitlines()


def built(engine: Engine, context: Path, home: Path) -> tuple[dict[str, Any], dict[str, File]]:
    """Build; returns the configuration of containers, and all files."""
    command = [old_docker(), "build", "--no-cache", "--network", "none", "-t", NAME, str(context)]
    environment = {**docker_environment(f"unix://{engine.socket}", home), "DOCKER_BUILDKIT": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with tarfile.open(fileobj=io.BytesIO(engine.request("GET", f"/images/{NAME}/get").body)) as saved:
        [manifest] = json.loads(content(saved, "manifest.json"))
        config = json.loads(content(saved, manifest["Config"]))["config"]
        files: dict[str, File] = {}
        for layer in manifest["Layers"]:
            with tarfile.open(fileobj=io.BytesIO(content(saved, layer))) as archive:
                lay(files, archive)
    return {name: value for name, value in config.items() if value}, files


def content(archive: tarfile.TarFile, name: str) -> bytes:
    """A file of an archive."""
    file = archive.extractfile(name)
    assert file is not None
    return file.read()


def lay(files: dict[str, File], layer: tarfile.TarFile) -> None:
    """Lay a layer upon files: what they are, modes, owners, and contents."""
    new: dict[str, File] = {}
    for entry in layer:
        name = os.path.normpath(entry.name)
        above, base = os.path.split(name)
        if base == ".wh..wh..opq":
            remove(files, lambda path, above=above: path.startswith(f"{above}/"))
        elif base.startswith(".wh."):
            gone = os.path.join(above, base.removeprefix(".wh."))
            remove(files, lambda path, gone=gone: path == gone or path.startswith(f"{gone}/"))
        elif entry.islnk():
            target = os.path.normpath(entry.linkname)
            new[name] = new.get(target) or files[target]
        elif name != ".":
            if not entry.isdir():
                remove(files, lambda path, name=name: path.startswith(f"{name}/"))
            what = hashlib.sha256(content(layer, entry.name)).hexdigest() if entry.isreg() else entry.linkname
            new[name] = (entry.type.decode("latin-1"), entry.mode & 0o7777, entry.uid, entry.gid, what)
    files.update(new)


def remove(files: dict[str, File], which: Callable[..., bool]) -> None:
    """Remove some."""
    for path in [path for path in files if which(path)]:
        del files[path]
