"""Images as the engine offers them: their events, what containers need of them, commit, and transfers."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from support.archives import docker_archive, member, tar
from support.containers import container_of
from wherry.distribution.transfer import transfers
from wherry.docker.container_answers import FilesystemChange
from wherry.docker.container_requests import ContainerConfig, HostConfig
from wherry.engine.container.container import Container, Definition
from wherry.engine.container.events import ContainerEvents
from wherry.engine.container.state import State, Status
from wherry.engine.events import EventBus
from wherry.engine.images.commit import CommitRequest, CommitService
from wherry.engine.images.images import Images
from wherry.engine.images.transfers import Distribution
from wherry.engine.settings import RegistryOptions, Settings
from wherry.errors import Conflict, InvalidInput, NotFound
from wherry.images.store import ImageStore
from wherry.oci.digest import Digest

LAYER = tar([member("bin/sh", b"#!" * 500), member("etc/motd", b"hello")])
OTHER = tar([member("other", b"12345")])


class NotedEvents(EventBus):
    """Remembers what is published: action, identifier, attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[tuple[str, str, dict[str, str]]] = []

    def publish(self, kind: str, action: str, identifier: str, attributes: Any) -> None:
        self.noted.append((action, identifier, dict(attributes)))


class Containers(list[Container]):
    """In place of the store of containers."""

    def find(self, ref: str) -> Container | None:
        return next((one for one in self if ref in (one.id, one.name)), None)

    def get(self, ref: str) -> Container:
        found = self.find(ref)
        if found is None:
            raise NotFound(f"No such container: {ref}")
        return found

    def users_of(self, image: str) -> list[str]:
        return [one.id for one in self if one.definition.image_id == image]


class Setup:
    """A real store with the image ``app:1``, and one container of it."""

    def __init__(self, root: Path) -> None:
        self.store = ImageStore(root / "data")
        list(self.store.load(io.BytesIO(docker_archive([LAYER], ["app:1"]))))
        self.events, self.containers = NotedEvents(), Containers()
        self.images = Images(self.store, self.containers, self.events)  # type: ignore[arg-type]
        self.app = str(self.store.resolve("app:1").id)
        definition = Definition(
            id="c" * 64, created="2024-01-01T00:00:00Z", image="app", image_id=self.app, argv=["sh", "-c", "x"],
            mounts=[], config=ContainerConfig(cmd=["sh"], env=["A=1"], hostname="here", tty=True), host=HostConfig(),
        )  # fmt: skip
        self.container = container_of("web", definition, State(status=Status.EXITED), root / "web", root / "run")
        self.containers.append(self.container)

    def write(self, name: str, data: str) -> None:
        """Let the container have written a file."""
        (upper,) = self.images.uppers(self.container)
        (upper / name).write_text(data)


@pytest.fixture
async def setup(tmp_path: Path) -> AsyncIterator[Setup]:
    made = Setup(tmp_path)
    yield made
    made.store.close()


# --- events -----------------------------------------------------------------------------------------------------------


async def test_names_that_come_and_go_are_published_by_the_ids_of_their_images(setup: Setup) -> None:
    await setup.images.tag("app:1", "again", "2")
    setup.containers.clear()
    await setup.images.remove("again:2", force=False, prune=True)
    await setup.images.remove("app:1", force=False, prune=True)
    assert setup.events.noted == [
        ("tag", setup.app, {"name": "again:2"}),
        ("untag", setup.app, {"name": "again:2"}),
        ("untag", setup.app, {"name": "app:1"}),
        ("delete", setup.app, {"name": setup.app}),
    ]  # none of layers, as Docker does


async def test_events_have_the_labels_of_the_image(setup: Setup) -> None:
    changes = ["LABEL kind=test", "LABEL name=other"]
    await asyncio.to_thread(setup.images.import_, io.BytesIO(LAYER), "labelled:1", changes, "", "")
    await asyncio.sleep(0)
    await setup.images.tag("labelled:1", "labelled", "2")
    await setup.images.remove("labelled:1", force=False, prune=True)
    await setup.images.remove("labelled:2", force=False, prune=True)
    found = [(action, labels.get("kind"), labels["name"]) for action, _, labels in setup.events.noted]
    assert found[:-1] == [
        ("tag", "test", "labelled:1"), ("import", "test", "labelled:1"), ("tag", "test", "labelled:2"),
        ("untag", "test", "labelled:1"), ("untag", "test", "labelled:2"),
    ]  # fmt: skip
    assert found[-1][:2] == ("delete", None)


async def test_a_prune_says_how_much_came_back(setup: Setup) -> None:
    list(setup.store.load(io.BytesIO(docker_archive([OTHER], []))))
    result = await setup.images.prune({})
    action, identifier, attributes = setup.events.noted[-1]
    assert (action, identifier, attributes) == ("prune", "", {"reclaimed": str(result.space_reclaimed)})
    assert [event[0] for event in setup.events.noted] == ["delete", "prune"]


async def test_what_happens_in_a_thread_is_published_on_the_loop(setup: Setup) -> None:
    archive = docker_archive([OTHER], ["b:1"])
    await asyncio.to_thread(lambda: list(setup.images.load(io.BytesIO(archive), ())))
    saved: list[bytes] = []
    await asyncio.to_thread(setup.images.save, ["b:1"], saved.append, ())
    made = await asyncio.to_thread(setup.images.import_, io.BytesIO(OTHER), "c:1", (), "", "")
    nameless = await asyncio.to_thread(setup.images.import_, io.BytesIO(LAYER), "", (), "", "")
    await asyncio.sleep(0)
    other = setup.images.id_of("b:1")
    assert setup.events.noted == [
        ("load", other, {"name": "b:1"}),
        ("save", other, {"name": other}),
        ("tag", made, {"name": "c:1"}),
        ("import", made, {"name": "c:1"}),
        ("import", nameless, {"name": nameless}),
    ]


# --- what containers need ---------------------------------------------------------------------------------------------


async def test_an_image_that_was_removed_by_force_goes_with_its_last_container(setup: Setup) -> None:
    setup.container.state.status = Status.EXITED
    await setup.images.remove("app:1", force=True, prune=True)
    assert setup.store.get(setup.app).removed
    await setup.images.release(setup.container)
    assert setup.store.get(setup.app)  # the container is still there
    setup.containers.clear()
    await setup.images.release(setup.container)
    with pytest.raises(NotFound):
        setup.store.get(setup.app)
    await setup.images.release(setup.container)  # another container of it went in the same moment


async def test_an_image_cannot_be_removed_under_a_container_that_runs(setup: Setup) -> None:
    setup.container.state.status = Status.RUNNING
    with pytest.raises(Conflict, match="cannot be forced"):
        await setup.images.remove(setup.app, force=True, prune=True)
    assert setup.events.noted == []


async def test_a_containers_changes_and_layers_are_those_of_its_image(setup: Setup) -> None:
    setup.write("new", "x")
    assert setup.images.changes(setup.container) == [FilesystemChange("/new", 1)]
    (layer,) = setup.images.layers_of(setup.container)
    assert layer.size == 1005
    assert "etc" in os.listdir(layer.path)
    archive = b"".join([piece async for piece in setup.images.export(setup.container)])
    assert b"etc/motd" in archive


# --- commit -----------------------------------------------------------------------------------------------------------


class Lifecycle:
    """Pauses and unpauses."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def pause(self, container: Container) -> None:
        self.calls.append("pause")
        container.state.status = Status.PAUSED

    async def unpause(self, container: Container) -> None:
        self.calls.append("unpause")
        container.state.status = Status.RUNNING


@pytest.fixture
def lifecycle() -> Lifecycle:
    return Lifecycle()


@pytest.fixture
def commits(setup: Setup, lifecycle: Lifecycle) -> CommitService:
    return CommitService(setup.containers, ContainerEvents(setup.events), lifecycle, setup.images)  # type: ignore[arg-type]


async def test_what_a_container_wrote_is_a_layer_on_its_image(setup: Setup, commits: CommitService) -> None:
    setup.write("new", "data")
    identifier = await commits.commit(CommitRequest(container="web", name="saved:1", comment="why", author="me"))
    image = setup.store.get(identifier)
    base = setup.store.get(setup.app)
    assert [layer.chain_id for layer in image.layers][:-1] == [layer.chain_id for layer in base.layers]
    assert (setup.store.layers.path(image.layers[-1]) / "new").read_text() == "data"
    assert image.repo_tags == ["saved:1"]
    last = (await setup.images.history("saved:1"))[0]
    assert (last.created_by, last.comment) == ("sh -c x", "why")
    assert setup.events.noted == [
        ("tag", identifier, {"name": "saved:1"}),
        ("commit", setup.container.id,
         {"image": "app", "name": "web", "comment": "why", "imageID": identifier, "imageRef": "saved:1"}),
    ]  # fmt: skip


async def test_an_image_gets_what_a_container_shares_with_images_and_changes_go_first(
    setup: Setup, commits: CommitService
) -> None:
    config = (setup.store.get(await commits.commit(CommitRequest(container="web", changes=["ENV B=2"])))).config
    assert config["Env"] == ["A=1", "B=2"]
    assert config["Cmd"] == ["sh"]
    assert not {"Hostname", "Tty"} & config.keys()
    own = ContainerConfig(env=["A=9"], user="me")
    config = (setup.store.get(await commits.commit(CommitRequest(container="web", config=own)))).config
    assert (config["Env"], config["User"], config["Cmd"]) == (["A=9"], "me", ["sh"])
    with pytest.raises(InvalidInput, match="COLOUR is not a valid change command"):
        await commits.commit(CommitRequest(container="web", changes=["COLOUR red"]))


@pytest.mark.parametrize(
    ("status", "pause"),
    [(Status.RUNNING, True), (Status.RUNNING, False), (Status.PAUSED, True), (Status.EXITED, True)],
)
async def test_only_a_container_that_runs_is_paused(
    setup: Setup, commits: CommitService, lifecycle: Lifecycle, status: Status, pause: bool
) -> None:
    setup.container.state.status = status
    await commits.commit(CommitRequest(container="web", pause=pause))
    assert lifecycle.calls == (["pause", "unpause"] if status is Status.RUNNING and pause else [])
    assert setup.container.state.status is status


async def test_a_container_goes_on_after_a_commit_that_fails_unless_it_has_ended(
    setup: Setup, commits: CommitService, lifecycle: Lifecycle, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup.container.state.status = Status.RUNNING

    async def fails(*_: object) -> str:
        raise Conflict("no")

    monkeypatch.setattr(setup.images, "commit", fails)
    with pytest.raises(Conflict):
        await commits.commit(CommitRequest(container="web"))
    assert lifecycle.calls == ["pause", "unpause"]

    async def ends(*_: object) -> str:
        setup.container.state.status = Status.EXITED
        return "sha256:1"

    monkeypatch.setattr(setup.images, "commit", ends)
    await commits.commit(CommitRequest(container="web"))
    assert lifecycle.calls == ["pause", "unpause", "pause"]


@pytest.mark.parametrize(
    ("status", "words"), [(Status.REMOVING, "which is being removed"), (Status.DEAD, "which is Dead")]
)
async def test_a_container_that_goes_becomes_no_image(
    setup: Setup, commits: CommitService, status: Status, words: str
) -> None:
    setup.container.state.status = status
    with pytest.raises(Conflict, match=f"^You cannot commit container {setup.container.id} {words}$"):
        await commits.commit(CommitRequest(container="web"))


async def test_a_removal_during_a_commit_makes_no_layer_with_holes(setup: Setup, commits: CommitService) -> None:
    overlay = setup.images.overlay

    def removed(container: Container) -> Any:
        setup.containers.remove(container)
        return overlay(container)

    setup.images.overlay = removed  # type: ignore[method-assign]
    with pytest.raises(Conflict, match="which is being removed"):
        await commits.commit(CommitRequest(container="web"))
    assert setup.images.count() == 1


# --- transfers --------------------------------------------------------------------------------------------------------


class FakeTransfers:
    """Notes what is asked of it; a pull of ``broken`` fails in its middle."""

    made: ClassVar[list[FakeTransfers]] = []

    def __init__(self, store: ImageStore, settings: Any) -> None:
        self.settings, self.closed = settings, False
        self.asked: list[tuple[Any, ...]] = []
        self.made.append(self)

    async def pull(self, reference: Any, platform: Any, credentials: Any) -> AsyncIterator[dict[str, Any]]:
        self.asked.append(("pull", str(reference), platform))
        yield {"status": "Pulling"}
        if "broken" in str(reference):
            raise NotFound("no such manifest")
        yield {"status": "Done"}

    async def push(self, reference: Any, credentials: Any, platform: Any) -> AsyncIterator[dict[str, Any]]:
        yield {"status": "Pushed"}

    async def search(self, term: str, limit: int, filters: Any, credentials: Any) -> list[Any]:
        self.asked.append(("search", term, limit))
        return []

    async def refetch(self, digest: Digest) -> None:
        self.asked.append(("refetch", str(digest), asyncio.get_running_loop()))

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
def distribution(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> Distribution:
    monkeypatch.setattr(transfers, "Transfers", FakeTransfers)
    FakeTransfers.made = []
    options = RegistryOptions(insecure=("r:5000",), mirrors=("http://m",), max_downloads=7, max_uploads=8)
    return Distribution(setup.store, Settings(registries=options), setup.events)


async def test_a_pull_and_a_push_are_published_when_they_are_done(setup: Setup, distribution: Distribution) -> None:
    assert [m["status"] async for m in distribution.pull("app", "2", "", "")] == ["Pulling", "Done"]
    assert [m["status"] async for m in distribution.push("app", "2", "", "")] == ["Pushed"]
    assert setup.events.noted == [("pull", "app:2", {"name": "app"}), ("push", "app:2", {"name": "app"})]


async def test_a_pull_that_fails_or_is_given_up_is_not(setup: Setup, distribution: Distribution) -> None:
    with pytest.raises(NotFound):
        [message async for message in distribution.pull("broken", "", "", "")]
    messages = distribution.pull("app", "2", "linux/s390x", "")
    await anext(messages)
    await messages.aclose()
    assert setup.events.noted == []
    assert str(FakeTransfers.made[0].asked[-1][2]) == "linux/s390x"


async def test_the_registry_client_is_made_once_when_it_is_needed_and_closed(distribution: Distribution) -> None:
    await distribution.close()
    assert FakeTransfers.made == []
    await distribution.search("x", 0, {}, "")
    await distribution.search("x", 3, {}, "")
    (made,) = FakeTransfers.made
    assert made.asked == [("search", "x", 25), ("search", "x", 3)]
    settings = made.settings
    assert (settings.insecure, settings.mirrors) == (("r:5000",), ("http://m",))
    assert (settings.max_downloads, settings.max_uploads, settings.max_attempts) == (7, 8, 5)
    await distribution.close()
    assert made.closed


@pytest.mark.parametrize(("term", "limit"), [("", 1), ("http://x", 1), ("x", -1), ("x", 101)])
async def test_a_search_that_makes_no_sense_asks_nobody(distribution: Distribution, term: str, limit: int) -> None:
    with pytest.raises(InvalidInput):
        await distribution.search(term, limit, {}, "")
    assert FakeTransfers.made == []


async def test_a_lost_blob_is_fetched_on_the_loop_for_a_thread(distribution: Distribution) -> None:
    digest = Digest("sha256:" + "a" * 64)
    await asyncio.to_thread(distribution.refetcher(), digest)
    assert FakeTransfers.made[0].asked == [("refetch", str(digest), asyncio.get_running_loop())]
