"""What builds make goes to registries, and their cache goes there and comes back."""

from __future__ import annotations

import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.daemons import Daemon
from support.needs import need
from support.registries import Registry

pytestmark = need("root", "busybox", "overlay", "namespaces")

DOCKERFILE = """
FROM busybox:latest AS tool
RUN echo tool > /tool && echo "ran step $((1 + 0))"
FROM busybox:latest
RUN true
COPY --from=tool /tool /tool
RUN cat /tool > /copy && echo "ran step $((1 + 1))"
LABEL a=b
"""


@pytest.fixture
def registry() -> Iterator[Registry]:
    made = Registry("wherry")
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def context(tmp_path: Path) -> Path:
    place = tmp_path / "context"
    place.mkdir()
    (place / "Dockerfile").write_text(DOCKERFILE)
    return place


def build(daemon: Daemon, context: Path, *words: str) -> str:
    """Build with the command; all that it says."""
    done = daemon.cli("build", "--progress", "plain", "--network", "none", *words, str(context), check=True)
    return done.stdout + done.stderr


def answer(daemon: Daemon, context: Path, *words: str) -> dict[str, Any]:
    """Build with the command; what is known of the result."""
    file = context.parent / "metadata.json"
    build(daemon, context, "--metadata-file", str(file), *words)
    found: dict[str, Any] = json.loads(file.read_text())
    return found


@need("skopeo")
def test_what_is_pushed_is_what_the_client_was_told(
    daemon: Daemon, busybox: str, registry: Registry, context: Path
) -> None:
    name = f"{registry.host}/team/app:1"
    told = answer(daemon, context, "-t", name, "--push", "--provenance", "mode=max", "--sbom", "true")
    command = ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{name}"]
    index = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=300).stdout)
    image, about = index["manifests"]
    assert about["annotations"]["vnd.docker.reference.digest"] == image["digest"]
    assert (
        f"{registry.host}/team/app@{told['containerimage.digest']}"
        in daemon.request("GET", f"/images/{name}/json").json["RepoDigests"]
    )
    ran = daemon.cli("run", "--rm", "--network", "none", name, "cat", "/copy", check=True)
    assert ran.stdout == "tool\n"


def test_cache_goes_to_a_registry_and_comes_back(
    daemon: Daemon, busybox: str, registry: Registry, context: Path
) -> None:
    place = f"type=registry,ref={registry.host}/team/cache:1"
    said = build(daemon, context, "--no-cache", "-t", "built:first", "--cache-to", f"{place},mode=max")
    assert "ran step 2" in said
    daemon.cli("builder", "prune", "-af", check=True)
    daemon.cli("rmi", "-f", "built:first", check=True)
    said = build(daemon, context, "-t", "built:second", "--cache-from", place)
    assert "ran step 2" not in said
    assert "ran step 1" not in said
    ran = daemon.cli("run", "--rm", "--network", "none", "built:second", "cat", "/copy", check=True)
    assert ran.stdout == "tool\n"
    (context / "Dockerfile").write_text(DOCKERFILE.replace("1 + 1", "1 + 2"))
    said = build(daemon, context, "-t", "built:third", "--cache-from", place)
    assert "ran step 3" in said
    assert "ran step 1" not in said


def test_cache_mounts_go_to_a_registry_and_come_back(
    daemon: Daemon, busybox: str, registry: Registry, context: Path
) -> None:
    place = f"type=registry,ref={registry.host}/team/mounts:1,mounts=true"
    mount = "--mount=type=cache,target=/c,uid=7,gid=8,mode=0711"
    fill = "echo kept > /c/file; ln -s file /c/link; chown 5:6 /c/file; chmod 4750 /c/file; mkfifo /c/fifo"
    (context / "Dockerfile").write_text(f"FROM busybox\nRUN {mount} {fill}\n")
    build(daemon, context, "--no-cache", "--cache-to", f"{place},mode=max")
    daemon.cli("builder", "prune", "-af", check=True)
    look = "stat -c '%n %a %u %g' /c /c/file; cat /c/link; test -p /c/fifo && echo fifo"
    (context / "Dockerfile").write_text(f"FROM busybox\nRUN {mount} {look}\n")
    done = daemon.cli("build", "--progress", "plain", "--network", "none", str(context))
    assert done.returncode == 1
    assert "No such file" in done.stderr  # the directory is a new one
    daemon.cli("builder", "prune", "-af", check=True)
    said = build(daemon, context, "--cache-from", place)
    for line in ("/c 711 7 8", "/c/file 4750 5 6", "kept", "fifo"):
        assert f" {line}\n" in said


def test_the_cache_in_an_image_comes_back_with_it(
    daemon: Daemon, busybox: str, registry: Registry, context: Path
) -> None:
    name = f"{registry.host}/team/inline:1"
    build(daemon, context, "--no-cache", "-t", name, "--push", "--cache-to", "type=inline")
    daemon.cli("builder", "prune", "-af", check=True)
    daemon.cli("rmi", "-f", name, check=True)
    said = build(daemon, context, "-t", "built:inline", "--cache-from", name)
    assert "ran step 2" not in said
    layers = daemon.request("GET", "/images/built:inline/json").json["RootFS"]["Layers"]
    assert len(layers) == 3
    history = daemon.request("GET", "/images/built:inline/history").json
    assert len([step for step in history if "RUN" in step["CreatedBy"]]) == 2


def test_a_cache_that_is_not_there_costs_a_build_and_no_more(
    daemon: Daemon, busybox: str, registry: Registry, context: Path
) -> None:
    daemon.cli("builder", "prune", "-af", check=True)
    said = build(daemon, context, "--cache-from", f"type=registry,ref={registry.host}/nothing:1")
    assert "ran step 2" in said


def test_with_an_epoch_the_same_inputs_give_the_same_image(daemon: Daemon, busybox: str, context: Path) -> None:
    words = ["--no-cache", "--build-arg", "SOURCE_DATE_EPOCH=1000000000", "-o", "type=image,rewrite-timestamp=true"]
    first, second = (answer(daemon, context, *words, "-t", "built:epoch") for _ in range(2))
    assert first["containerimage.digest"] == second["containerimage.digest"]
    assert daemon.request("GET", "/images/built:epoch/json").json["Created"] == "2001-09-09T01:46:40Z"


def test_layers_become_a_single_one(daemon: Daemon, busybox: str, context: Path) -> None:
    counts = []
    for policy in ("all", "stage", "none"):
        build(daemon, context, "-t", "built:layers", "--layers", policy)
        counts.append(len(daemon.request("GET", "/images/built:layers/json").json["RootFS"]["Layers"]))
        ran = daemon.cli("run", "--rm", "--network", "none", "built:layers", "cat", "/copy", check=True)
        assert ran.stdout == "tool\n"
    assert counts == [3, 2, 1]


def test_an_image_for_several_platforms_is_kept_whole(daemon: Daemon, busybox: str, context: Path) -> None:
    (context / "hello").write_text("hello")
    (context / "Dockerfile").write_text("FROM scratch\nARG TARGETARCH\nCOPY hello /hello\nLABEL arch=$TARGETARCH\n")
    words = ["-t", "built:several", "--platform", "linux/amd64,linux/arm64", "--provenance", "mode=min"]
    told = answer(daemon, context, *words)
    shown = daemon.request("GET", "/images/built:several/json", manifests=1).json
    assert shown["Descriptor"]["digest"] == told["containerimage.digest"]
    kinds = [(one["Kind"], one["Available"]) for one in shown["Manifests"]]
    assert kinds == [("image", True), ("image", True), ("attestation", True), ("attestation", True)]
    assert shown["Config"]["Labels"]["arch"] == shown["Architecture"]


def test_a_container_of_any_part_of_an_image_shows_the_images_name(daemon: Daemon, busybox: str, context: Path) -> None:
    """As Docker: it has the part's ID, and the name means all of the index; whatever part suits this machine."""
    (context / "Dockerfile").write_text('FROM scratch\nARG TARGETARCH\nLABEL arch=$TARGETARCH\nCMD ["/x"]\n')
    answer(daemon, context, "-t", "built:parts", "--platform", "linux/amd64,linux/arm64")
    for platform in ("linux/amd64", "linux/arm64"):
        name = platform.partition("/")[2]
        daemon.docker("create", "--platform", platform, "--network", "none", "--name", name, "built:parts", check=True)
    daemon.docker("tag", "built:parts", "built:again", check=True)
    listed = daemon.request("GET", "/containers/json", all=1, filters='{"ancestor": ["built:again"]}').json
    assert len({one["ImageID"] for one in listed}) == 2
    assert [(one["Names"], one["Image"]) for one in listed] == [
        (["/arm64"], "built:parts"), (["/amd64"], "built:parts"),
    ]  # fmt: skip
    daemon.docker("tag", busybox, "built:parts", check=True)
    listed = daemon.request("GET", "/containers/json", all=1).json
    assert all(one["Image"] == one["ImageID"] for one in listed), "the name means something else now"
    daemon.docker("rm", "arm64", "amd64", check=True)


SCANNER = """FROM busybox:latest
ENV WHO=scanner
WORKDIR /work
COPY scan /scan
ENTRYPOINT ["/bin/sh", "/scan"]
CMD ["argument"]
"""
SCAN = r"""
test "$1 $WHO $(pwd)" = "argument scanner /work" || exit 3
touch "$BUILDKIT_SCAN_SOURCE/new" && exit 4
cat /copy && exit 5
name=$(basename "$BUILDKIT_SCAN_SOURCE")
said="$(cat "$BUILDKIT_SCAN_SOURCE/copy") $BUILDKIT_SCAN_FORMAT"
mkdir -p "$BUILDKIT_SCAN_DESTINATION" /tmp/x
for one in other "$name"; do
    echo "{\"_type\": \"https://in-toto.io/Statement/v0.1\", \"predicateType\": \"https://spdx.dev/Document\"," \
        "\"subject\": [], \"predicate\": {\"name\": \"$one\", \"comment\": \"$said\"}}" \
        > "$BUILDKIT_SCAN_DESTINATION/$one.spdx.json"
done
"""


def test_a_scanner_image_says_what_is_in_an_image(daemon: Daemon, busybox: str, context: Path) -> None:
    scanner = context.parent / "scanner"
    scanner.mkdir()
    (scanner / "Dockerfile").write_text(SCANNER)
    (scanner / "scan").write_text(SCAN)
    build(daemon, scanner, "-t", "example.com/scanner:1")
    wanted = ("--attest", "type=sbom,generator=example.com/scanner:1,FORMAT=all")
    archive = context.parent / "image.tar"
    said = build(daemon, context, *wanted, "--output", f"type=oci,dest={archive}")
    assert "generating sbom using example.com/scanner:1" in said
    assert [one["predicate"] for one in statements(archive)] == [
        {"name": "sbom", "comment": "tool all"},
        {"name": "other", "comment": "tool all"},
    ]
    (scanner / "scan").write_text("exit 7")
    build(daemon, scanner, "-t", "example.com/scanner:1")
    failed = daemon.cli("build", "--progress", "plain", "--network", "none", *wanted, "-t", "never", str(context))
    assert failed.returncode == 1
    assert "exit code: 7" in failed.stderr


def test_a_bill_of_materials_lists_stages_that_ask_for_it(daemon: Daemon, busybox: str, context: Path) -> None:
    scanner, asking = context.parent / "scanner", context.parent / "asking"
    for directory in (scanner, asking):
        directory.mkdir()
    (scanner / "Dockerfile").write_text(SCANNER)
    (scanner / "scan").write_text(
        SCAN.replace("$BUILDKIT_SCAN_FORMAT", "$(cd $BUILDKIT_SCAN_SOURCE_EXTRAS && cat */made)")
    )
    build(daemon, scanner, "-t", "example.com/scanner:1")
    (asking / "Dockerfile").write_text(
        "ARG BUILDKIT_SBOM_SCAN_STAGE=true\nFROM busybox AS tools\n"
        "RUN mkdir -p /var/lib/dpkg && echo tool > /made && printf "
        "'Package: gcc\\nStatus: install ok installed\\nVersion: 12\\nArchitecture: amd64\\n' > /var/lib/dpkg/status\n"
        "FROM scratch\nCOPY --from=tools /made /copy\n"
    )
    archive = context.parent / "image.tar"
    wanted = ("--attest", "type=sbom,generator=example.com/scanner:1", "--output", f"type=oci,dest={archive}")
    build(daemon, asking, *wanted)
    assert {one["predicate"]["comment"] for one in statements(archive)} == {"tool tool"}
    build(daemon, asking, "--sbom=true", "--output", f"type=oci,dest={archive}")
    image, tools = (one["predicate"] for one in statements(archive))
    listed = [[package["name"] for package in one["packages"]] for one in (image, tools)]
    assert ("gcc" in listed[0], "gcc" in listed[1], tools["name"].startswith("sbom-tools-")) == (False, True, True)


def statements(archive: Path) -> list[Any]:
    """What is stated about the image in an archive, by bills of materials."""
    with tarfile.open(archive) as tar:

        def read(digest: str) -> Any:
            member = tar.extractfile(f"blobs/{digest.replace(':', '/')}")
            assert member is not None
            return json.load(member)

        index = tar.extractfile("index.json")
        assert index is not None
        [top] = json.load(index)["manifests"]
        _, about = read(top["digest"])["manifests"]
        layers = read(about["digest"])["layers"]
        kinds = [layer["annotations"]["in-toto.io/predicate-type"] for layer in layers]
        return [read(layer["digest"]) for layer, kind in zip(layers, kinds, strict=True) if "spdx" in kind]
