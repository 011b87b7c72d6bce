"""Garbage collection while the registry serves: what goes, what stays, and who wins when two meet."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import quiet
from support.registry_harness import INDEX, MANIFEST, Lab, descriptor, digest, manifest, registry
from wherry.oci.digest import Digest
from wherry.registry.server.errors import Refusal
from wherry.registry.storage.contract import key_of_blob

NOTHING_LEFT = {"manifests": 0, "links": 0, "blobs": 0, "bytes": 0, "uploads": 0}


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with registry(tmp_path, gc={"grace": "1h", "upload_ttl": "1h", "interval": "0"}) as running:
        yield running


def age(root: Path) -> None:
    """Make everything two days old."""
    for path in root.rglob("*"):
        if path.is_file():
            os.utime(path, (path.stat().st_atime - 172_800, path.stat().st_mtime - 172_800))


async def collect(lab: Lab, root: Path, **more: Any) -> Any:
    await asyncio.to_thread(age, root)
    return await lab.assembly.gc.run(**more)


async def there(lab: Lab, name: str, data: bytes) -> bool:
    return (await lab.ask("GET", f"/v2/{name}/blobs/{digest(data)}")).status == 200


async def test_what_no_manifest_needs_goes_and_what_one_needs_stays(lab: Lab, tmp_path: Path) -> None:
    image = await lab.push_image("team/app", "v1", layer=b"needed")
    await lab.push_blob("team/app", b"unneeded")
    await lab.push_blob("nothing/else", b"needed")
    done = await collect(lab, tmp_path)
    assert (done.blobs, done.bytes, done.links) == (1, 8, 2)
    assert await there(lab, "team/app", b"needed")
    assert not await there(lab, "team/app", b"unneeded")
    assert not await there(lab, "nothing/else", b"needed")
    assert (await lab.ask("GET", "/v2/team/app/manifests/v1")).body == image
    again = await collect(lab, tmp_path)
    assert {name: getattr(again, name) for name in NOTHING_LEFT} == NOTHING_LEFT


async def test_what_is_young_stays(lab: Lab) -> None:
    await lab.push_blob("team/app", b"just pushed")
    done = await lab.assembly.gc.run()
    assert (done.blobs, done.links) == (0, 0)
    assert await there(lab, "team/app", b"just pushed")


async def test_a_dry_run_only_counts(lab: Lab, tmp_path: Path) -> None:
    await lab.push_blob("team/app", b"unneeded")
    assert (await collect(lab, tmp_path, dry=True)).links == 1
    assert await there(lab, "team/app", b"unneeded")


async def test_a_blob_that_somebody_asked_about_stays_for_another_grace_period(lab: Lab, tmp_path: Path) -> None:
    await lab.push_blob("team/app", b"old")
    await asyncio.to_thread(age, tmp_path)
    assert (await lab.ask("HEAD", f"/v2/team/app/blobs/{digest(b'old')}")).status == 200
    await lab.assembly.gc.run()
    assert await there(lab, "team/app", b"old")


async def test_the_last_repository_takes_the_bytes_with_it(lab: Lab, tmp_path: Path) -> None:
    images = {name: await lab.push_image(name, "v1", layer=b"shared") for name in ("a", "b")}
    await lab.ask("DELETE", f"/v2/a/manifests/{digest(images['a'])}")
    await collect(lab, tmp_path)
    assert await there(lab, "b", b"shared")
    await lab.ask("DELETE", f"/v2/b/manifests/{digest(images['b'])}")
    done = await collect(lab, tmp_path)
    assert done.blobs == 3  # the layer, the configuration that both had, the manifest that both had
    left = await asyncio.to_thread(lambda: [path for path in tmp_path.rglob("*") if path.is_file()])
    assert left == []


async def test_untagged_manifests_go_only_where_that_was_asked_for(tmp_path: Path) -> None:
    async with registry(tmp_path, gc={"grace": "1h", "untagged": True}) as lab:
        kept = await lab.push_image("team/app", "kept", layer=b"one")
        member = await lab.push_image("team/app", "member", layer=b"two")
        gone = await lab.push_image("team/app", "gone", layer=b"three")
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(member, MANIFEST)]}
        await lab.put_manifest("team/app", "index", index, INDEX)
        signature = json.dumps(manifest(b"{}", subject=descriptor(kept, MANIFEST))).encode()
        await lab.push_blob("team/app", b"{}")
        await lab.put_manifest("team/app", digest(signature), signature)
        for tag in ("member", "gone"):
            await lab.ask("DELETE", f"/v2/team/app/manifests/{tag}")
        done = await collect(lab, tmp_path)
        assert done.manifests == 1
        for data, status in ((kept, 200), (member, 200), (signature, 200), (gone, 404)):
            assert (await lab.ask("GET", f"/v2/team/app/manifests/{digest(data)}")).status == status
        assert not await there(lab, "team/app", b"three")


async def test_uploads_that_nobody_finishes_go(lab: Lab, tmp_path: Path) -> None:
    where = (await lab.ask("POST", "/v2/a/blobs/uploads/")).headers["Location"]
    await lab.ask("PATCH", where, data=b"half")
    assert (await lab.assembly.gc.run()).uploads == 0
    assert (await collect(lab, tmp_path)).uploads == 1
    assert (await lab.ask("GET", where)).code == "BLOB_UPLOAD_UNKNOWN"


async def test_who_links_a_blob_that_is_condemned_is_told_to_try_again(lab: Lab) -> None:
    storage = lab.assembly.registry.catalog.storage
    await lab.push_blob("a", b"data")
    given = Digest(digest(b"data"))
    await storage.write(f"condemned/{given.replace(':', '/')}", b"1")
    answer = await lab.push_blob("b", b"data")
    assert (answer.status, answer.code, answer.headers["Retry-After"]) == (503, "UNAVAILABLE", "1")
    await storage.delete(f"condemned/{given.replace(':', '/')}")
    assert (await lab.push_blob("b", b"data")).status == 201


async def test_a_blob_that_is_linked_while_it_is_condemned_lives(lab: Lab, tmp_path: Path) -> None:
    """The link comes between the first look and the second one."""
    catalog = lab.assembly.registry.catalog
    await lab.push_blob("a", b"data")
    given = Digest(digest(b"data"))
    await lab.ask("DELETE", f"/v2/a/blobs/{given}")
    await asyncio.to_thread(age, tmp_path)
    write, refused = catalog.storage.write, []

    async def meddling(key: str, data: bytes) -> None:
        await write(key, data)
        if key.startswith("condemned/"):
            try:
                await catalog.link("b", given, 4)
            except Refusal as refusal:
                refused.append(refusal.code)

    catalog.storage.write = meddling  # type: ignore[method-assign]
    await lab.assembly.gc.run()
    assert refused == ["UNAVAILABLE"]
    assert await there(lab, "b", b"data")


async def test_a_manifest_that_comes_while_its_blob_is_unlinked_keeps_it(lab: Lab, tmp_path: Path) -> None:
    catalog = lab.assembly.registry.catalog
    for blob in (b"{}", b"layer"):
        await lab.push_blob("a", blob)
    await asyncio.to_thread(age, tmp_path)
    delete, statuses = catalog.storage.delete, []

    async def meddling(key: str) -> None:
        if "/_blobs/" in key and not statuses:
            statuses.append(0)
            statuses[0] = (await lab.put_manifest("a", "v1", manifest(b"{}", b"layer"))).status
        await delete(key)

    catalog.storage.delete = meddling  # type: ignore[method-assign]
    await lab.assembly.gc.run()
    assert statuses == [201]
    for blob in (b"{}", b"layer"):
        assert await there(lab, "a", blob)


@pytest.mark.slow
@pytest.mark.once
async def test_collecting_while_hundreds_are_pushed_loses_nothing(tmp_path: Path) -> None:
    async with registry(tmp_path, gc={"grace": "300ms", "interval": "0"}) as lab:
        ended = asyncio.Event()

        async def collecting() -> int:
            rounds = 0
            while not ended.is_set():
                await lab.assembly.gc.run()
                rounds += 1
            return rounds

        collections = asyncio.create_task(collecting())
        await asyncio.gather(*(push_persistently(lab, f"repo{number % 5}", number) for number in range(60)))
        ended.set()
        assert await collections > 1
        lost = []
        for number in range(60):
            answer = await lab.ask("GET", f"/v2/repo{number % 5}/manifests/t{number}")
            assert answer.status == 200
            for part in (answer.json["config"], *answer.json["layers"]):
                blob = await lab.ask("GET", f"/v2/repo{number % 5}/blobs/{part['digest']}")
                if digest(blob.body) != part["digest"]:
                    lost.append(part["digest"])
        # what keeps a blob whose manifest is on its way is the grace period, which a busy machine may be slower than
        quiet.in_time(not lost, f"collected after 300 ms without a manifest: {lost}")


async def push_persistently(lab: Lab, name: str, number: int) -> None:
    """As clients do: what is refused for now, or was collected meanwhile, is pushed again."""
    config, layer = b"{}", b"layer %d" % (number % 7)
    for _ in range(30):
        codes = [(await lab.push_blob(name, blob)).status for blob in (config, layer)]
        if codes == [201, 201]:
            answer = await lab.put_manifest(name, f"t{number}", manifest(config, layer, annotations={"n": str(number)}))
            if answer.status == 201:
                return
        await asyncio.sleep(0.02)
    raise AssertionError("could not push")


async def test_a_damaged_blob_is_noticed_and_can_be_pushed_again(lab: Lab, tmp_path: Path) -> None:
    image = await lab.push_image("a", "v1", layer=b"layer")
    for data in (b"layer", image):
        await asyncio.to_thread((tmp_path / key_of_blob(digest(data))).write_bytes, b"")  # as a power cut may leave it
    assert (await lab.ask("HEAD", f"/v2/a/blobs/{digest(b'layer')}")).status == 404
    assert (await lab.ask("GET", f"/v2/a/blobs/{digest(b'layer')}")).code == "BLOB_UNKNOWN"
    async with registry(tmp_path) as fresh:  # the other one has the manifest in memory
        assert (await fresh.ask("GET", "/v2/a/manifests/v1")).code == "MANIFEST_UNKNOWN"
        assert await fresh.push_image("a", "v1", layer=b"layer") == image
        assert (await fresh.ask("GET", "/v2/a/manifests/v1")).body == image
        assert await there(fresh, "a", b"layer")


async def test_records_that_lost_their_bytes_are_as_if_they_were_not_there(lab: Lab, tmp_path: Path) -> None:
    image = await lab.push_image("a", "v1")

    def empty() -> None:
        for path in (tmp_path / "repositories").rglob("*"):
            if path.is_file():
                path.write_bytes(b"")

    await asyncio.to_thread(empty)
    for path in ("manifests/v1", f"manifests/{digest(image)}", f"blobs/{digest(b'layer')}"):
        assert (await lab.ask("GET", f"/v2/a/{path}")).status == 404
    assert await lab.push_image("a", "v1") == image
    assert (await lab.ask("GET", "/v2/a/manifests/v1")).body == image


async def test_a_blob_that_is_deleted_while_it_is_pulled_arrives_whole(lab: Lab, tmp_path: Path) -> None:
    data = os.urandom(20_000_000)
    await lab.push_blob("a", data)
    async with lab.session.get(f"{lab.url}/v2/a/blobs/{digest(data)}") as response:
        first = await response.content.readexactly(1000)
        assert (await lab.ask("DELETE", f"/v2/a/blobs/{digest(data)}")).status == 202
        await collect(lab, tmp_path)
        assert first + await response.content.read() == data
    assert not await there(lab, "a", data)
