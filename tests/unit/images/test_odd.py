"""Images that other tools write a little differently, and what Docker's verbs do at the edges."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.archives import Layout, config, digest, docker_archive, member, tar
from wherry.distribution.transfer.select_manifest import check_platform
from wherry.docker.image_answers import ImageDeleted
from wherry.errors import InvalidInput, Unsupported
from wherry.images.store import ImageStore
from wherry.oci.image_config import parse_config

BASE = tar([member("bin", b"12345")])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ImageStore]:
    opened = ImageStore(tmp_path / "data")
    yield opened
    opened.close()


def load(store: ImageStore, archive: bytes) -> list[str]:
    return [step["stream"].strip() for step in store.load(io.BytesIO(archive), []) if "stream" in step]


def archive_of(configuration: bytes) -> bytes:
    """A Docker archive of an image without layers."""
    listed = json.dumps([{"Config": "c.json", "RepoTags": ["odd:1"], "Layers": None}]).encode()
    return tar([member("c.json", configuration), member("manifest.json", listed)])


@pytest.mark.parametrize(
    "text",
    [
        '{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":null}}',
        '{"architecture":"amd64","os":null,"created":null,"rootfs":{"type":"layers"},"config":{"Env":null,"User":null}}',
        '{"architecture":"amd64","variant":null,"rootfs":{"type":"layers","diff_ids":[]},"history":[{"comment":null}]}',
    ],
)
def test_a_member_that_is_null_is_not_set(store: ImageStore, text: str) -> None:
    assert load(store, archive_of(text.encode())) == ["Loaded image: odd:1"]
    image = store.resolve("odd:1")
    assert image.id == digest(text.encode())  # the bytes are the identity
    assert image.layers == ()
    assert parse_config(text.encode()).rootfs.diff_ids == []


@pytest.mark.parametrize("text", ['{"os":"linux"}', '{"os":"linux","rootfs":null}'])
def test_a_configuration_that_says_nothing_of_layers_is_none(store: ImageStore, text: str) -> None:
    with pytest.raises(InvalidInput, match="invalid image JSON, no RootFS key"):
        load(store, archive_of(text.encode()))
    assert len(store) == 0


def test_an_archive_without_a_schema_version_is_loaded_and_found_again(store: ImageStore, tmp_path: Path) -> None:
    layout = Layout()
    described = layout.image([BASE], annotations={"io.containerd.image.name": "docker.io/library/odd:1"})
    manifest = json.loads(layout.blobs.pop(described["digest"]))
    del manifest["schemaVersion"]
    blob = layout.blob(json.dumps(manifest).encode(), described["mediaType"])
    layout.index = [{**described, "digest": blob["digest"], "size": blob["size"]}]
    assert load(store, layout.archive()) == ["Loaded image: odd:1"]
    store.close()
    again = ImageStore(tmp_path / "data")
    assert again.resolve("odd:1").manifest_digest == blob["digest"]
    again.close()


def test_a_saved_image_is_named_by_its_tag_for_readers_of_oci_archives(store: ImageStore) -> None:
    load(store, docker_archive([BASE], ["localhost:5000/team/app:v1"]))
    written = io.BytesIO()
    store.save(["localhost:5000/team/app:v1"], written.write)
    written.seek(0)
    with tarfile.open(fileobj=written) as archive:
        file = archive.extractfile("index.json")
        assert file
        [listed] = json.load(file)["manifests"]
    assert listed["annotations"] == {
        "io.containerd.image.name": "localhost:5000/team/app:v1",
        "org.opencontainers.image.ref.name": "v1",
    }
    store.remove("localhost:5000/team/app:v1", in_use=lambda _: [])
    assert load(store, written.getvalue()) == ["Loaded image: localhost:5000/team/app:v1"]


def test_images_made_within_a_second_are_told_apart(store: ImageStore) -> None:
    for number in range(3):
        created = f"2024-01-02T03:04:05.00000000{number}Z"
        text = f'{{"architecture":"amd64","created":"{created}","rootfs":{{"type":"layers","diff_ids":[]}}}}'
        load(store, archive_of(text.encode()))
        store.tag("odd:1", f"made:{number}")

    def names(**filters: list[str]) -> list[str]:
        return [name for image in store.list(filters) for name in image.repo_tags if name.startswith("made")]

    assert names() == ["made:2", "made:1", "made:0"]
    assert names(since=["made:0"]) == ["made:2", "made:1"]
    assert names(before=["made:2"]) == ["made:1", "made:0"]
    assert names(since=["made:0"], before=["made:2"]) == ["made:1"]


def test_prune_of_all_leaves_an_image_in_use_one_name(store: ImageStore) -> None:
    """Docker does so, whether the container was made of one of the names or of the ID."""
    load(store, docker_archive([BASE], ["app:1", "app:2", "other:3"]))
    pruned = store.prune({"dangling": ["false"]}, in_use=lambda _: ["c"])
    assert pruned.images_deleted == [ImageDeleted(untagged="app:1"), ImageDeleted(untagged="app:2")]
    assert [image.repo_tags for image in store.list()] == [["other:3"]]
    load(store, docker_archive([BASE], ["app:1"]))
    assert store.prune({}, in_use=lambda _: ["c"]).images_deleted is None


@pytest.mark.parametrize("system", ["windows", "wasip1", "wasi", "freebsd"])
def test_an_image_for_another_system_is_refused_by_name(store: ImageStore, system: str) -> None:
    with pytest.raises(Unsupported, match=f"cannot load {system} image on linux"):
        load(store, docker_archive([BASE], ["odd:1"], os=system))
    layout = Layout()
    described = layout.image([BASE])
    manifest = json.loads(layout.blobs[described["digest"]])
    manifest["config"] = layout.blob(config([BASE], os=system), manifest["config"]["mediaType"])
    layout.index = [layout.blob(json.dumps(manifest).encode(), described["mediaType"])]
    with pytest.raises(Unsupported, match=f"cannot load {system} image on linux"):
        load(store, layout.archive())


@pytest.mark.parametrize("system", ["windows", "wasip1"])
def test_a_pull_of_one_says_so_before_anything_is_fetched(system: str) -> None:
    with pytest.raises(Unsupported, match=f'image operating system "{system}" cannot be used on this platform'):
        check_platform("odd:1", config([BASE], os=system), None)
    check_platform("odd:1", config([BASE], os=""), None)
