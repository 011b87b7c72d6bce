"""Drafts become layers, layers become layers of images, and what nobody needs goes."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from support.needs import need
from support.snapshots import World, fill, world
from wherry.build.model.snapshot import Snapshot, SnapshotLayer
from wherry.build.snapshots import blobs
from wherry.build.snapshots.store import MAX_LAYERS
from wherry.errors import InvalidInput, NotFound
from wherry.images.store import ImageStore


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def numbers(snapshot: Snapshot) -> list[int]:
    return [layer.number for layer in snapshot.layers]


def directories(here: World) -> set[str]:
    return {name for name in os.listdir(here.images.layers.root) if not name.endswith("m")} - {"0"}


# --- drafts ---------------------------------------------------------------------------------------


def test_the_directory_that_a_step_filled_becomes_the_layer(here: World) -> None:
    draft = here.snapshots.draft()
    fill(draft, {"etc/motd": b"hello"})
    inode = draft.upper.stat().st_ino
    [layer] = here.snapshots.commit(draft).layers
    assert Path(layer.path).stat().st_ino == inode
    assert Path(layer.path, "etc/motd").read_bytes() == b"hello"
    assert not draft.path.exists()


def test_a_step_that_changed_nothing_gives_an_empty_layer(here: World) -> None:
    base = here.layer({"file": b"1"})
    upon = here.layer({}, base)
    assert upon.layers[:-1] == base.layers
    assert os.listdir(upon.layers[-1].path) == []


def test_a_draft_looks_like_its_parents_root(here: World) -> None:
    draft = here.snapshots.draft()
    fill(draft, {"file": b""})
    draft.upper.chmod(0o1777)
    base = here.snapshots.commit(draft)
    second = here.snapshots.draft(base)
    assert stat.S_IMODE(second.upper.stat().st_mode) == 0o1777
    here.snapshots.discard(second)


def test_a_discarded_draft_leaves_nothing(here: World) -> None:
    base = here.layer({"file": b"1"})
    draft = here.snapshots.draft(base)
    fill(draft, {"other": b"2"})
    here.snapshots.discard(draft)
    here.snapshots.discard(draft)
    assert not draft.path.exists()
    here.snapshots.wait_for_removals()
    assert not os.listdir(draft.path.parent)
    assert not here.snapshots.in_use(base.layers[0].number)


def test_a_layer_that_an_image_has_as_well_is_shared(here: World) -> None:
    snapshot = here.snapshots.from_image(here.image("base:1", {"one": b"1"}))
    above = here.layer({"two": b"2"}, snapshot)
    assert [here.snapshots.is_shared(number) for number in numbers(above)] == [True, False]
    here.images.remove("base:1", in_use=lambda _: ())
    assert [here.snapshots.is_shared(number) for number in numbers(above)] == [False, False]
    here.snapshots.release(snapshot)


def test_a_clients_directory_in_a_snapshot_is_nothing_to_hold(here: World, tmp_path: Path) -> None:
    snapshot = Snapshot((SnapshotLayer(-1, str(tmp_path)),))
    here.snapshots.hold(snapshot)
    here.snapshots.keep(snapshot)
    here.snapshots.release(snapshot)
    assert tmp_path.exists()


def test_more_layers_than_the_kernel_takes_are_refused(here: World) -> None:
    deep = Snapshot(tuple(SnapshotLayer(number, "x") for number in range(MAX_LAYERS + 1)))
    with pytest.raises(InvalidInput, match="max depth exceeded"):
        here.snapshots.draft(deep)


def test_the_size_of_a_layer_counts_a_file_with_several_links_once(here: World) -> None:
    draft = here.snapshots.draft()
    fill(draft, {"a/one": b"12345", "two": b"123"})
    os.link(draft.upper / "a/one", draft.upper / "again")
    [layer] = here.snapshots.commit(draft).layers
    assert here.snapshots.size(layer.number) == 8


# --- in use ---------------------------------------------------------------------------------------


def test_a_removed_layer_goes_when_it_is_released(here: World) -> None:
    snapshot = here.layer({"file": b"12345"})
    [layer] = snapshot.layers
    here.snapshots.hold(snapshot)
    assert here.snapshots.remove([layer.number]) == 0
    assert Path(layer.path).exists()
    assert here.snapshots.snapshot([layer.number]) is None
    here.snapshots.release(snapshot)
    assert not Path(layer.path).exists()
    with pytest.raises(NotFound):
        here.snapshots.hold(snapshot)


def test_removing_a_layer_gives_back_its_size(here: World) -> None:
    [layer] = here.layer({"file": b"12345"}).layers
    assert here.snapshots.remove([layer.number, 4711]) == 5
    assert directories(here) == {str(one.number) for one in here.images.layers}


def test_the_number_of_a_removed_layer_is_not_given_again(here: World) -> None:
    [first] = here.layer({"file": b"1"}).layers
    here.snapshots.remove([first.number])
    [second] = here.layer({"file": b"2"}).layers
    assert second.number > first.number


def test_an_image_may_be_removed_while_its_snapshot_is_held_or_kept(here: World) -> None:
    image = here.image("base:1", {"one": b"1"}, {"two": b"2"})
    snapshot = here.snapshots.from_image(image)
    assert numbers(snapshot) == [layer.number for layer in image.layers]
    here.images.remove("base:1", in_use=lambda _: ())
    assert all(Path(layer.path).exists() for layer in snapshot.layers)
    above = here.layer({"three": b"3"}, snapshot)
    here.snapshots.release(snapshot)
    assert all(Path(layer.path).exists() for layer in snapshot.layers)
    here.snapshots.remove(numbers(above))
    assert not any(Path(layer.path).exists() for layer in above.layers)


def test_the_layers_of_a_removed_image_go_with_the_last_release(here: World) -> None:
    snapshot = here.snapshots.from_image(here.image("base:1", {"one": b"1"}))
    here.images.remove("base:1", in_use=lambda _: ())
    here.snapshots.release(snapshot)
    assert not any(Path(layer.path).exists() for layer in snapshot.layers)
    assert here.snapshots.snapshot(numbers(snapshot)) is None


@need("root")
def test_the_image_that_is_this_machine_is_no_base(here: World) -> None:
    ImageStore.add_host(here.images)
    with pytest.raises(InvalidInput, match="built-in"):
        here.snapshots.from_image(here.images.resolve("host:latest"))


# --- layers of images -----------------------------------------------------------------------------


def test_a_layer_becomes_an_ordinary_one_where_it_lies(here: World) -> None:
    snapshot = here.layer({"b": b"2"}, here.layer({"a": b"1"}))
    with here.images.lease() as lease:
        blobs = here.snapshots.blobs(snapshot, lease)
        assert blobs[0].chain_id == blobs[0].diff_id == blobs[0].digest
        for layer, blob in zip(snapshot.layers, blobs, strict=True):
            assert here.images.layers.get(blob.chain_id).number == layer.number
            assert blob.digest in here.images.content
    checked = [finding for finding in here.images.check(busy=lambda _: ()) if finding.kind == "layer"]
    assert {finding.verdict for finding in checked} == {"sound"}


def test_the_blob_of_a_layer_does_not_depend_on_when_it_is_made(here: World) -> None:
    draft = here.snapshots.draft()
    fill(draft, {"dir/file": b"1" * 3000, "other": b""})
    for path in ("dir/file", "other", "dir"):
        os.utime(draft.upper / path, ns=(0, 10**18))
    snapshot = here.snapshots.commit(draft)
    with here.images.lease() as lease:
        first = here.snapshots.blobs(snapshot, lease)
    assert first[0].digest not in here.images.content  # nobody needed it
    with here.images.lease() as lease:
        assert here.snapshots.blobs(snapshot, lease) == first
        assert first[0].digest in here.images.content


def test_all_who_ask_at_once_get_the_same(here: World) -> None:
    snapshot = here.layer({"b": b"2"}, here.layer({"a": b"1"}))
    here.snapshots.hold(snapshot)
    here.snapshots.prepare(snapshot)
    with here.images.lease() as lease, ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: here.snapshots.blobs(snapshot, lease), range(8)))
    assert all(one == found[0] for one in found)
    assert not [name for name in os.listdir(here.images.layers.root.parent / "tmp") if name.startswith("blob-")]


def test_what_was_prepared_and_not_asked_for_goes_with_the_release(here: World) -> None:
    snapshot = here.layer({"a": b"1"})
    here.snapshots.hold(snapshot)
    here.snapshots.prepare(snapshot)
    here.snapshots.release(snapshot)
    here.snapshots.close()
    assert not [name for name in os.listdir(here.images.layers.root.parent / "tmp") if name.startswith("blob-")]


def test_who_asks_while_another_one_lets_go_gets_the_blob(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = here.layer({"a": b"1"})
    go, asked = threading.Event(), threading.Event()
    maker = here.snapshots._blobs
    begin, drop, pack = maker._begin, maker.drop, blobs.pack

    def slowly(*given: Any) -> Any:
        assert go.wait(60)
        return pack(*given)

    def note(one: SnapshotLayer) -> Any:
        found = begin(one)
        asked.set()
        return found

    monkeypatch.setattr(blobs, "pack", slowly)
    here.snapshots.hold(snapshot)
    here.snapshots.prepare(snapshot)
    with here.images.lease() as lease, ThreadPoolExecutor(1) as pool:
        asking: list[Future[Any]] = []

        def ask_meanwhile(given: Any) -> None:
            here.snapshots.hold(snapshot)
            monkeypatch.setattr(maker, "_begin", note)
            asking.append(pool.submit(here.snapshots.blobs, snapshot, lease))
            assert asked.wait(60)
            drop(given)
            go.set()

        monkeypatch.setattr(maker, "drop", ask_meanwhile)
        here.snapshots.release(snapshot)
        monkeypatch.setattr(maker, "drop", drop)
        assert len(asking[0].result(60)) == 1
        here.snapshots.release(snapshot)
    here.snapshots.close()
    assert not [name for name in os.listdir(here.images.layers.root.parent / "tmp") if name.startswith("blob-")]


def test_a_layer_that_is_wanted_again_does_not_go_with_its_last_user(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = here.layer({"a": b"1"})
    drop = here.snapshots._blobs.drop

    def want_meanwhile(given: Any) -> None:
        monkeypatch.undo()
        here.snapshots.hold(snapshot)
        here.snapshots.want(numbers(snapshot))
        drop(given)

    here.snapshots.hold(snapshot)
    here.snapshots.remove(numbers(snapshot))
    monkeypatch.setattr(here.snapshots._blobs, "drop", want_meanwhile)
    here.snapshots.release(snapshot)
    assert here.snapshots.snapshot(numbers(snapshot)) == snapshot
    here.snapshots.release(snapshot)
    assert here.snapshots.snapshot(numbers(snapshot)) == snapshot


def test_the_blobs_of_an_images_layers_are_those_it_came_with(here: World) -> None:
    image = here.image("base:1", {"one": b"1"}, {"two": b"2"})
    snapshot = here.snapshots.from_image(image)
    above = here.layer({"three": b"3"}, snapshot)
    here.images.remove("base:1", in_use=lambda _: ())
    with here.images.lease() as lease:
        blobs = here.snapshots.blobs(above, lease)
    assert [blob.digest for blob in blobs[:2]] == [one.digest for one in image.manifest.layers]
    assert [blob.chain_id for blob in blobs[:2]] == [one.chain_id for one in image.layers]
    here.snapshots.release(snapshot)


def test_a_layer_upon_other_layers_is_there_twice(here: World) -> None:
    link = here.layer({"app": b"program"})
    one, two = here.layer({"base": b"1"}), here.layer({"base": b"2"})
    with here.images.lease() as lease:
        for base in (one, two):
            blobs = here.snapshots.blobs(Snapshot((*base.layers, *link.layers)), lease)
            top = here.images.layers.get(blobs[-1].chain_id)
            assert (here.images.layers.path(top) / "app").read_bytes() == b"program"
        assert here.images.layers.numbered(link.layers[0].number) is not None


def test_what_an_image_and_the_cache_need_stays_until_both_are_gone(here: World) -> None:
    for first in ("image", "cache"):
        snapshot = here.snapshots.from_image(here.image("base:1", {"one": b"1"}, {"two": b"2"}))
        here.snapshots.keep(snapshot)
        here.snapshots.release(snapshot)
        for one in (first, "cache" if first == "image" else "image"):
            assert all(Path(layer.path).exists() for layer in snapshot.layers)
            if one == "image":
                here.images.remove("base:1", in_use=lambda _: ())
            else:
                here.snapshots.remove(numbers(snapshot))
        assert not any(Path(layer.path).exists() for layer in snapshot.layers)


# --- after a crash --------------------------------------------------------------------------------


def test_layers_and_what_is_kept_of_images_are_there_after_a_restart(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        snapshot = here.snapshots.from_image(here.image("base:1", {"one": b"1"}))
        above = here.layer({"two": b"2"}, snapshot)
        with here.images.lease() as lease:
            blobs = here.snapshots.blobs(above, lease)
        here.images.remove("base:1", in_use=lambda _: ())
    with world(tmp_path) as here:
        again = here.snapshots.snapshot(numbers(above))
        assert again == above
        with here.images.lease() as lease:
            assert here.snapshots.blobs(above, lease) == blobs
        assert not here.images.layers.orphans()


def test_a_killed_builders_drafts_are_removed(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        draft = here.snapshots.draft()
        fill(draft, {"file": b"1"})
    with world(tmp_path) as here:
        here.snapshots.wait_for_removals()
        assert not draft.path.exists()


def test_layers_that_did_not_come_to_the_disk_are_dropped_after_the_machines_death(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        synced = here.layer({"file": b"1"})
        with here.images.lease() as lease:
            here.snapshots.blobs(synced, lease)
        cut_off = here.layer({"file": b"2"}, synced)
        here.database.write("UPDATE build_layers SET unsynced_since = 'before' WHERE unsynced_since != ''")
    with world(tmp_path) as here:
        assert here.snapshots.snapshot(numbers(synced)) == synced
        assert here.snapshots.snapshot(numbers(cut_off)) is None
        assert not Path(cut_off.layers[-1].path).exists()


def test_rows_without_directories_and_references_without_rows_are_dropped(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        snapshot = here.snapshots.from_image(here.image("base:1", {"one": b"1"}))
        above = here.layer({"two": b"2"}, snapshot)
        here.images.remove("base:1", in_use=lambda _: ())
        here.database.write("DELETE FROM build_layers WHERE number = ?", snapshot.layers[0].number)
        Path(above.layers[-1].path).rename(tmp_path / "elsewhere")
    with world(tmp_path) as here:
        assert here.snapshots.snapshot(numbers(above)[-1:]) is None
        assert not Path(snapshot.layers[0].path).exists()
        assert not [owner for owner in here.images.references.owners() if owner.startswith("build:")]


def test_all_but_the_layers_that_are_known_can_be_removed(here: World) -> None:
    first, second = here.layer({"a": b"1"}), here.layer({"b": b"2"})
    here.snapshots.retain(numbers(first))
    assert here.snapshots.snapshot(numbers(first)) == first
    assert here.snapshots.snapshot(numbers(second)) is None


def test_a_database_that_forgot_everything_takes_no_layer_away(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        here.image("base:1", {"one": b"1"})
        snapshot = here.layer({"file": b"1"})
    for name in ("wherry.db", "wherry.db-wal", "wherry.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    with world(tmp_path) as here:
        assert Path(snapshot.layers[0].path).exists()
        assert here.snapshots.snapshot(numbers(snapshot)) is None
        [new] = here.layer({"file": b"2"}).layers
        assert new.number > snapshot.layers[0].number
