"""ReferenceCounts are counted, leases protect what is on its way, claims protect an image that is about to be used."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.archives import docker_archive, member, tar
from support.needs import need
from wherry.errors import NotFound
from wherry.images.reference_counts import blob, layer
from wherry.images.store import ImageStore
from wherry.oci.digest import Digest

BASE = tar([member("base", b"b" * 1000)])
TOP = tar([member("top", b"t" * 10)])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ImageStore]:
    opened = ImageStore(tmp_path / "data")
    yield opened
    opened.close()


def load(store: ImageStore, layers: list[bytes], name: str) -> Digest:
    list(store.load(io.BytesIO(docker_archive(layers, [name]))))
    return store.resolve(name).id


def nobody(_: Digest) -> list[str]:
    return []


def blobs(store: ImageStore) -> set[Digest]:
    return {digest for digest, _ in store.content.walk()}


def test_what_two_images_share_is_counted_twice_and_stays_until_both_are_gone(store: ImageStore) -> None:
    load(store, [BASE], "one")
    load(store, [BASE, TOP], "two")
    shared = store.resolve("one").layers[0]
    archive = store.resolve("one").manifest.layers[0].digest
    assert [store.references.count(target) for target in (layer(shared.chain_id), blob(archive))] == [2, 2]
    store.remove("one", in_use=nobody)
    assert [store.references.count(target) for target in (layer(shared.chain_id), blob(archive))] == [1, 1]
    assert store.layers.path(shared).is_dir()
    store.remove("two", in_use=nobody)
    assert blobs(store) == set()
    assert os.listdir(store.layers.root) == ["0"]


def test_a_lease_keeps_what_no_image_needs_until_it_ends(store: ImageStore) -> None:
    with store.lease() as lease:
        digest = Digest.from_bytes(b"on its way")
        lease.blob(digest)
        store.content.put(b"on its way")
        load(store, [BASE], "other")
        store.remove("other", in_use=nobody)
        assert store.references.delete_unreferenced([blob(digest)]) == 0
        assert digest in store.content
    assert digest not in store.content


def test_a_lease_on_what_is_there_outlives_the_image_that_had_it(store: ImageStore) -> None:
    load(store, [BASE], "one")
    [kept] = store.resolve("one").layers
    with store.lease() as lease:
        lease.layer(kept.chain_id)
        store.remove("one", in_use=nobody)
        assert kept.chain_id in store.layers
        assert store.layers.path(kept).is_dir()
    assert kept.chain_id not in store.layers


def test_a_collection_waits_for_nobody(store: ImageStore) -> None:
    load(store, [BASE], "one")
    with store.lease():
        store.remove("one", in_use=nobody)
        assert blobs(store) == set()


def test_an_index_that_a_name_means_stays_as_long_as_the_name(store: ImageStore) -> None:
    identifier = load(store, [BASE], "one")
    image = store.resolve("one")
    with store.lease() as lease:
        index = store.content.put(b"{}")
        lease.blob(index)
        store.register(identifier, image.manifest_digest, [image.names[0].with_digest(index)])
    assert index in store.content
    store.remove("one", in_use=nobody)
    assert index not in store.content


def test_an_image_that_is_about_to_be_used_is_not_removed(store: ImageStore) -> None:
    identifier = load(store, [BASE], "one")
    with store.pin("one") as image:
        store.remove("one", in_use=nobody)
        with pytest.raises(NotFound), store.pin("one"):
            pass
        assert store.get(identifier).removed
        assert store.layers.path(image.layers[0]).is_dir()
    store.release(nobody)
    assert blobs(store) == set()


def test_of_two_that_remove_an_image_at_once_one_finds_nothing(store: ImageStore) -> None:
    for number in range(10):
        load(store, [BASE, tar([member(str(number))])], "one")
        outcomes: list[object] = []

        def remove(found: list[object] = outcomes) -> None:
            try:
                found.append(store.remove("one", in_use=nobody))
            except NotFound as exc:
                found.append(exc)

        threads = [threading.Thread(target=remove) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(outcomes) == 2
        assert blobs(store) == set()


def test_loads_and_removals_at_once_never_leave_an_image_without_its_parts(store: ImageStore) -> None:
    stopped = threading.Event()
    failures: list[BaseException] = []

    def churn(name: str) -> None:
        try:
            while not stopped.is_set():
                load(store, [BASE, TOP], name)
                store.remove(name, in_use=nobody)
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=churn, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for _ in range(15):
        load(store, [BASE, TOP], "mine")
        image = store.resolve("mine")
        assert all(store.layers.path(one).is_dir() for one in image.layers)
        assert all(one.digest in store.content for one in image.manifest.layers)
        store.remove("mine", in_use=nobody)
    stopped.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert blobs(store) == set()


@need("root")
def test_counts_are_made_up_for_a_store_of_an_earlier_version(store: ImageStore) -> None:
    load(store, [BASE], "one")
    root = store.content.root.parent
    with store._database.transaction() as connection:
        connection.execute("DELETE FROM refs")
    again = ImageStore(root)
    again.reconcile()
    assert again.resolve("one").layers[0].chain_id in again.layers
    assert again.references.count(blob(again.resolve("one").id)) == 1
    again.close()
