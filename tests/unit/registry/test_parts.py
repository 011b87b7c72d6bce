"""What newer clients ask of a registry: several parts at once, several tags at once, and long indexes."""

from __future__ import annotations

import email
import email.message
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.registry_harness import INDEX, MANIFEST, Answer, Lab, descriptor, digest, manifest, registry


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with registry(tmp_path) as running:
        yield running


def parts_of(answer: Answer) -> list[tuple[str, bytes]]:
    """The parts of a multipart answer, read by the library for mail."""
    head = f"Content-Type: {answer.headers['Content-Type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + answer.body)
    assert message.get_content_type() == "multipart/byteranges"
    assert not message.defects
    found = []
    for part in message.get_payload():
        assert isinstance(part, email.message.Message)
        assert part.get_content_type() == "application/octet-stream"
        found.append((str(part["Content-Range"]), part.get_payload(decode=True)))
    return found  # type: ignore[return-value]


async def test_several_parts_of_a_blob_come_in_one_answer_in_the_order_asked_for(lab: Lab) -> None:
    data = bytes(range(65, 91)) * 1000
    await lab.push_blob("team/app", data)
    path, size = f"/v2/team/app/blobs/{digest(data)}", len(data)
    answer = await lab.ask("GET", path, headers={"Range": "bytes=100-199, 0-0 ,-3,99999999-,20000-"})
    assert answer.status == 206
    assert len(answer.body) == int(answer.headers["Content-Length"])
    assert parts_of(answer) == [
        (f"bytes {start}-{end - 1}/{size}", data[start:end])
        for start, end in ((100, 200), (0, 1), (size - 3, size), (20000, size))
    ]
    many = ",".join(f"{start}-{start + 1}" for start in range(0, 5_000, 10))  # as podman's partial pulls ask
    answer = await lab.ask("GET", path, headers={"Range": f"bytes={many}"})
    assert [part for _, part in parts_of(answer)] == [data[start : start + 2] for start in range(0, 5_000, 10)]
    one = await lab.ask("GET", path, headers={"Range": "bytes=5-6,99999999-"})
    assert (one.status, one.body, one.headers["Content-Range"]) == (206, data[5:7], f"bytes 5-6/{size}")
    stale = await lab.ask("GET", path, headers={"Range": "bytes=0-1,5-6", "If-Range": '"other"'})
    assert (stale.status, stale.body) == (200, data)


@pytest.mark.parametrize("asked", ["bytes=0-,0-,0-", "bytes=" + ",".join(["0-25999"] * 300), "bytes=0-,5-1"])
async def test_who_asks_for_more_than_there_is_gets_the_whole_once(lab: Lab, asked: str) -> None:
    data = bytes(26_000)
    await lab.push_blob("team/app", data)
    answer = await lab.ask("GET", f"/v2/team/app/blobs/{digest(data)}", headers={"Range": asked})
    assert (answer.status, len(answer.body)) == (200, 26_000)


@pytest.mark.parametrize(
    "asked", ["bytes=256000-", "bytes=-0", f"bytes={10**25}-", "bytes=256000-,-0", "bytes=" + "0-0," * 1100]
)
async def test_ranges_that_are_not_there_or_too_many_are_refused(lab: Lab, asked: str) -> None:
    data = bytes(256000)
    await lab.push_blob("team/app", data)
    answer = await lab.ask("GET", f"/v2/team/app/blobs/{digest(data)}", headers={"Range": asked})
    assert (answer.status, answer.code) == (416, "RANGE_INVALID")
    assert answer.headers["Content-Range"] == "bytes */256000"


async def test_a_manifest_pushed_by_digest_gets_the_tags_that_go_with_it(lab: Lab) -> None:
    image = await lab.push_image("team/app", "v1")
    path = f"/v2/team/app/manifests/{digest(image)}"
    headers = {"Content-Type": MANIFEST}
    answer = await lab.ask("PUT", f"{path}?tag=one&tag=two&tag=one&ns=x", data=image, headers=headers)
    assert answer.status == 201
    assert answer.headers.getall("OCI-Tag") == ["one", "two"]
    assert answer.headers["Location"] == path
    assert (await lab.ask("GET", "/v2/team/app/tags/list")).json["tags"] == ["one", "two", "v1"]
    assert (await lab.ask("GET", "/v2/team/app/manifests/two")).body == image
    plain = await lab.ask("PUT", path, data=image, headers=headers)
    assert (plain.status, "OCI-Tag" in plain.headers) == (201, False)
    for query in (f"{path}?tag=-bad", f"{path}?tag=good&tag=", "/v2/team/app/manifests/v1?tag=v2"):
        refused = await lab.ask("PUT", query, data=image, headers=headers)
        assert (refused.status, refused.code) == (400, "TAG_INVALID")
    many = "&".join(f"tag=t{number}" for number in range(100))
    assert (await lab.ask("PUT", f"{path}?{many}", data=image, headers=headers)).status == 414
    assert (await lab.ask("GET", "/v2/team/app/tags/list")).json["tags"] == ["one", "two", "v1"]


def put_there(root: Path, documents: list[bytes]) -> None:
    blobs, records = root / "blobs/sha256", root / "repositories/team/app/_manifests/sha256"
    for directory in (blobs, records):
        directory.mkdir(parents=True, exist_ok=True)
    for data in documents:
        name = digest(data).removeprefix("sha256:")
        record = f'{{"mediaType":"{MANIFEST}","size":{len(data)}}}'.encode()
        (blobs / name).write_bytes(data)
        (records / name).write_bytes(record)


@pytest.mark.slow
@pytest.mark.once
async def test_an_index_may_list_thousands(lab: Lab, tmp_path: Path) -> None:
    """Five thousand manifests, pushed as records, since it is the index that matters here."""
    config = b"{}"
    await lab.push_blob("team/app", config)
    documents = [json.dumps({**manifest(config), "annotations": {"n": str(number)}}).encode() for number in range(5000)]
    entries = [descriptor(data, MANIFEST) for data in documents]
    put_there(tmp_path, documents)
    answer = await lab.put_manifest("team/app", "many", {"schemaVersion": 2, "manifests": entries}, INDEX)
    assert answer.status == 201, answer.body
    entries.append(descriptor(b"missing", MANIFEST))
    answer = await lab.put_manifest("team/app", "many", {"schemaVersion": 2, "manifests": entries}, INDEX)
    assert (answer.status, answer.code) == (404, "MANIFEST_BLOB_UNKNOWN")
