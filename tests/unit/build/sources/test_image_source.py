"""Images as sources: of this machine, and of a registry that is none."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncGenerator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.archives import Layout, config, docker_archive, member, named, tar
from support.build_sources import ClientSession, Directories, Drafts, Memory, content_of, request_for
from wherry.build.model.progress import Progress, TransferProgress
from wherry.build.model.session import Credentials, NoSession
from wherry.build.sources.contract import SourceKey
from wherry.build.sources.image import RemoteImage
from wherry.build.sources.table import SourceTable
from wherry.docker.reference import Reference
from wherry.errors import CorruptData, InvalidInput, NotFound, Unsupported
from wherry.images.store import ImageStore
from wherry.oci.digest import Digest
from wherry.oci.platform import Platform

AMD, ARM = Platform("linux", "amd64"), Platform("linux", "arm64")
BASE, OTHER = tar([member("base", b"1")]), tar([member("other", b"2")])


class Registry:
    """Has one image for each platform, under any name."""

    def __init__(self, store: ImageStore) -> None:
        self._store = store
        self.layers = {Platform.host(): [OTHER], AMD: [OTHER], ARM: [BASE, OTHER]}
        self.asked: list[tuple[str, str, Any]] = []

    async def resolve(self, reference: Reference, platform: Platform, credentials: Credentials | None) -> RemoteImage:
        self.asked.append(("resolve", str(reference), credentials))
        if "nothing" in reference.path:
            raise NotFound("no such image")
        data = config(self.layers[platform], architecture=platform.architecture)
        manifest = Digest.from_bytes(str(platform).encode())
        return RemoteImage(Digest.from_bytes(b"index"), manifest, Digest.from_bytes(data), data)

    async def fetch(
        self, reference: Reference, platform: Platform, credentials: Credentials | None
    ) -> AsyncGenerator[dict[str, Any], None]:
        self.asked.append(("pull", str(reference), credentials))
        yield {"status": "Pulling from x", "id": "latest"}
        yield {"status": "Downloading", "id": "0123", "progressDetail": {"current": 1, "total": 2}}
        names = [] if reference.digest else [reference.familiar]
        archive = docker_archive(self.layers[platform], names, architecture=platform.architecture)
        await asyncio.to_thread(lambda: list(self._store.load(io.BytesIO(archive))))
        yield {"status": "Pull complete", "id": "0123"}


class Images:
    """A table of sources over a store."""

    def __init__(self, root: Path) -> None:
        self.store = ImageStore(root / "data")
        self.registry = Registry(self.store)
        self.table = SourceTable(
            self.store, self.registry, Directories(root / "kept"), Drafts(root / "drafts"), Memory()
        )
        self.progress: list[Progress] = []

    def load(self, layers: list[bytes], *names: str, **fields: Any) -> None:
        """Have an image."""
        list(self.store.load(io.BytesIO(docker_archive(layers, list(names), **fields))))

    async def use(
        self, name: str, platform: Platform = AMD, session: Any = None, **attributes: str
    ) -> tuple[SourceKey, list[str]]:
        """The key, and the paths of the files in all layers."""
        request = request_for(f"docker-image://{name}", session, self.progress, platform, **attributes)
        fetch = self.table.open(request)
        try:
            key, snapshot = await fetch.key(), await fetch.snapshot()
            return key, [name for layer in snapshot.layers for name in os.listdir(layer.path)]
        finally:
            await fetch.close()


@pytest.fixture
def images(tmp_path: Path) -> Iterator[Images]:
    made = Images(tmp_path)
    yield made
    made.store.close()


async def test_an_image_of_this_machine_is_used_without_a_registry(images: Images) -> None:
    images.load([BASE, OTHER], "mine:1")
    key, files = await images.use("docker.io/library/mine:1")
    assert files == ["base", "other"]
    assert key.key.startswith("image sha256:")
    assert images.registry.asked == []


async def test_an_image_is_found_by_its_manifests_digest_and_by_the_beginning_of_its_id(images: Images) -> None:
    images.load([BASE], "mine:1")
    image = images.store.resolve("mine:1")
    keys = [
        (await images.use("docker.io/library/mine:1"))[0],
        (await images.use(f"docker.io/library/mine:1@{image.manifest_digest}"))[0],
        (await images.use(f"docker.io/library/mine@{image.manifest_digest}", image__resolvemode="pull"))[0],
        (await images.use(f"docker.io/library/{image.id.hex[:12]}:latest"))[0],
    ]
    assert len({key.key for key in keys}) == 1
    assert images.registry.asked == []


async def test_what_is_not_here_or_for_another_platform_comes_from_a_registry(images: Images) -> None:
    images.load([BASE], "base:1")
    _, files = await images.use("docker.io/library/other:1", AMD)
    assert files == ["other"]
    _, files = await images.use("docker.io/library/base:1", ARM)
    assert files == ["base", "other"]
    assert images.store.resolve("base:1").architecture == "amd64"


@pytest.fixture
def both(images: Images) -> str:
    """An image for two platforms, of which one is unpacked; the digest of its index."""
    layout = Layout()
    parts = [layout.image([BASE]), layout.image([BASE, OTHER], "arm64")]
    layout.index = [layout.nested(parts, annotations=named("docker.io/library/both:1"))]
    list(images.store.load(io.BytesIO(layout.archive())))
    return str(layout.index[0]["digest"])


async def test_what_an_index_has_for_another_platform_is_unpacked_when_a_build_wants_it(
    images: Images, both: str
) -> None:
    before = images.store.resolve("both:1")
    for platform, files in ((AMD, ["base"]), (ARM, ["base", "other"])):
        found = await images.table.resolve_image("both:1", platform, "", NoSession(), images.progress.append)
        assert str(found.digest) == both
        assert f'"architecture": "{platform.architecture}"'.encode() in found.config
        for name in ("docker.io/library/both:1", f"docker.io/library/both:1@{both}"):
            key, names = await images.use(name, platform)
            assert names == files
            assert key.pins[0][1] == both
    assert images.store.resolve("both:1") == before
    assert images.registry.asked == []


async def test_what_was_unpacked_and_pruned_meanwhile_is_unpacked_again(images: Images, both: str) -> None:
    assert (await images.use("docker.io/library/both:1", ARM))[1] == ["base", "other"]
    fetch = images.table.open(request_for("docker-image://docker.io/library/both:1", platform=ARM))
    await fetch.key()
    images.store.prune({}, in_use=lambda _: [])
    assert [os.listdir(layer.path) for layer in (await fetch.snapshot()).layers] == [["base"], ["other"]]
    await fetch.close()
    assert images.registry.asked == []


async def test_the_mode_pull_asks_the_registry_and_fetches_only_what_is_new(images: Images) -> None:
    images.load([BASE], "base:1")
    _, files = await images.use("docker.io/library/base:1", image__resolvemode="pull")
    assert files == ["other"]
    _, files = await images.use("docker.io/library/base:1", image__resolvemode="pull")
    assert [what for what, _, _ in images.registry.asked] == ["resolve", "pull", "resolve"]


async def test_a_key_alone_fetches_no_layers(images: Images) -> None:
    fetch = images.table.open(request_for("docker-image://docker.io/library/other:1", platform=AMD))
    key = await fetch.key()
    await fetch.close()
    assert [what for what, _, _ in images.registry.asked] == ["resolve"]
    assert key.pins == (("pkg:docker/other@1?platform=linux%2Famd64", str(Digest.from_bytes(b"index"))),)
    assert (await images.use("docker.io/library/other:1"))[0].key == key.key


async def test_an_image_that_is_removed_between_key_and_files_is_fetched_again(images: Images) -> None:
    images.load([OTHER], "other:1")
    fetch = images.table.open(request_for("docker-image://docker.io/library/other:1", platform=AMD))
    await fetch.key()
    images.store.remove("other:1", in_use=lambda _: [])
    assert content_of(await fetch.snapshot()) == {"other": "2"}
    await fetch.close()


async def test_a_tag_that_moves_between_key_and_files_gives_nothing_under_the_key(images: Images) -> None:
    fetch = images.table.open(request_for("docker-image://docker.io/library/other:1", platform=AMD))
    await fetch.key()
    images.registry.layers[AMD] = [BASE]
    with pytest.raises(NotFound, match="other:1 was pulled, and is another image by now"):
        await fetch.snapshot()
    await fetch.close()


@pytest.mark.parametrize("layers", [[BASE], [BASE, OTHER], [OTHER, BASE], []])
async def test_an_image_that_is_another_one_when_it_is_fetched_again_gives_nothing_under_the_key(
    images: Images, layers: list[bytes]
) -> None:
    images.load([OTHER], "other:1")
    fetch = images.table.open(request_for("docker-image://docker.io/library/other:1", platform=AMD))
    await fetch.key()
    images.store.remove("other:1", in_use=lambda _: [])
    images.registry.layers[AMD] = layers
    with pytest.raises(CorruptData, match="other:1 has changed since its registry was asked about it"):
        await fetch.snapshot()
    await fetch.close()


async def test_layers_that_are_used_outlive_their_image(images: Images) -> None:
    images.load([OTHER], "other:1")
    fetch = images.table.open(request_for("docker-image://docker.io/library/other:1", platform=AMD))
    await fetch.key()
    snapshot = await fetch.snapshot()
    images.store.remove("other:1", in_use=lambda _: [])
    assert content_of(snapshot) == {"other": "2"}
    await fetch.close()
    with pytest.raises(FileNotFoundError):
        os.listdir(snapshot.layers[0].path)


async def test_a_pull_is_shown_layer_by_layer(images: Images) -> None:
    await images.use("docker.io/library/other:1")
    shown = [
        (one.name, one.current, bool(one.completed)) for one in images.progress if isinstance(one, TransferProgress)
    ]
    assert shown == [("downloading", 1, False), ("downloading", 2, True)]


async def test_registries_get_the_clients_credentials(images: Images) -> None:
    class Session(ClientSession):
        async def credentials(self, host: str) -> Credentials | None:
            return Credentials(host, "secret")

    await images.use("docker.io/library/other:1", session=Session())
    await images.use("localhost:5000/other:2", session=Session())
    hosts = {name: given.username for _, name, given in images.registry.asked}
    assert hosts == {"docker.io/library/other:1": "registry-1.docker.io", "localhost:5000/other:2": "localhost:5000"}


async def test_a_layer_limit_leaves_upper_layers_out(images: Images) -> None:
    images.load([BASE, OTHER], "mine:1")
    whole, _ = await images.use("docker.io/library/mine:1")
    key, files = await images.use("docker.io/library/mine:1", image__layerlimit="1")
    assert files == ["base"]
    assert key.key != whole.key


async def test_a_name_is_resolved_to_a_digest_and_a_configuration(images: Images) -> None:
    images.load([BASE], "mine:1")
    found = await images.table.resolve_image("mine:1", AMD, "", NoSession(), images.progress.append)
    assert found.digest == images.store.resolve("mine:1").manifest_digest
    assert (found.name, b"diff_ids" in found.config) == ("docker.io/library/mine:1", True)
    found = await images.table.resolve_image("other", AMD, "", NoSession(), images.progress.append)
    assert (found.digest, found.name) == (Digest.from_bytes(b"index"), "docker.io/library/other:latest")
    with pytest.raises(NotFound):
        await images.table.resolve_image("nothing", AMD, "", NoSession(), images.progress.append)


async def test_a_name_without_a_choice_is_built_upon_whatever_it_is_for_and_gets_no_tag(images: Images) -> None:
    data = config([BASE], architecture=ARM.architecture)
    manifest = Digest.from_bytes(b"manifest")

    async def resolve(reference: Reference, platform: Platform, credentials: Credentials | None) -> RemoteImage:
        return RemoteImage(manifest, manifest, Digest.from_bytes(data), data)

    images.registry.layers[ARM] = [BASE]
    images.registry.resolve = resolve  # type: ignore[method-assign]
    found = await images.table.resolve_image("only:1", AMD, "", NoSession(), images.progress.append)
    _, files = await images.use(f"docker.io/library/only:1@{found.digest}", AMD)
    assert files == ["base"]
    assert [name for what, name, _ in images.registry.asked if what == "pull"] == [f"docker.io/library/only@{manifest}"]
    assert not images.store.id_of("only:1")


async def test_a_pulled_base_gets_the_tag_that_was_asked_for_and_is_local_from_then_on(images: Images) -> None:
    for pinned, tagged in ((f"x:2@{Digest.from_bytes(b'index')}", False), ("x:1", True)):
        name, tag = pinned.partition("@")[0], pinned.partition(":")[2]
        if tagged:
            found = await images.table.resolve_image(name, Platform.host(), "", NoSession(), images.progress.append)
            tag = f"1@{found.digest}"
        await images.use(f"docker.io/library/x:{tag}", Platform.host())
        assert bool(images.store.id_of(name)) == tagged, name
    asked = len(images.registry.asked)
    await images.table.resolve_image("x:1", Platform.host(), "", NoSession(), images.progress.append)
    assert len(images.registry.asked) == asked


@pytest.mark.parametrize(
    ("identifier", "kind"),
    [
        ("docker-image://UPPER", InvalidInput),
        ("nothing", InvalidInput),
        ("ftp://host/x", Unsupported),
        ("local://", InvalidInput),
    ],
)
def test_identifiers_that_name_nothing_are_refused(images: Images, identifier: str, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        images.table.open(request_for(identifier))


def test_a_checksum_has_to_be_the_digest(images: Images) -> None:
    first, second = Digest.from_bytes(b"1"), Digest.from_bytes(b"2")
    with pytest.raises(InvalidInput, match="does not match the checksum"):
        images.table.open(request_for(f"docker-image://docker.io/library/x@{first}", image__checksum=second))


async def test_the_built_in_image_is_no_base(images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    images.load([BASE], "mine:1")
    built_in = replace(images.store.resolve("mine:1"), built_in=True)
    monkeypatch.setattr(images.store, "resolve", lambda text: built_in)
    with pytest.raises(Unsupported, match="the image 'host' cannot be a base"):
        await images.use("docker.io/library/mine:1")
