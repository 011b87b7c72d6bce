"""The OCI distribution specification 1.1, end-point by end-point, as its conformance list has them."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from support.registry_harness import CONFIG, INDEX, MANIFEST, Lab, descriptor, digest, manifest, registry

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with registry(tmp_path) as running:
        yield running


# -- pull -----------------------------------------------------------------------------------------------


async def test_it_says_that_it_is_a_registry(lab: Lab) -> None:
    for path in ("/v2/", "/v2"):
        answer = await lab.ask("GET", path)
        assert (answer.status, answer.json) == (200, {})
        assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


async def test_a_manifest_is_pulled_by_tag_and_by_digest_as_it_was_pushed(lab: Lab) -> None:
    data = await lab.push_image("team/app", "v1")
    for reference in ("v1", digest(data)):
        for method in ("GET", "HEAD"):
            answer = await lab.ask(method, f"/v2/team/app/manifests/{reference}")
            assert answer.status == 200
            assert answer.body == (data if method == "GET" else b"")
            assert answer.headers["Content-Type"] == MANIFEST
            assert answer.headers["Content-Length"] == str(len(data))
            assert answer.headers["Docker-Content-Digest"] == digest(data)


async def test_what_is_not_there_has_its_own_code(lab: Lab) -> None:
    await lab.push_image("team/app", "v1")
    absent = digest(b"absent")
    for path, code in (
        ("/v2/team/app/manifests/v2", "MANIFEST_UNKNOWN"),
        (f"/v2/team/app/manifests/{absent}", "MANIFEST_UNKNOWN"),
        (f"/v2/team/other/manifests/{absent}", "MANIFEST_UNKNOWN"),
        (f"/v2/team/app/blobs/{absent}", "BLOB_UNKNOWN"),
        ("/v2/nobody/tags/list", "NAME_UNKNOWN"),
    ):
        answer = await lab.ask("GET", path)
        assert (answer.status, answer.code) == (404, code), path
        assert answer.headers["Content-Type"] == "application/json"
        assert (await lab.ask("HEAD", path)).status in (404, 405)


async def test_a_blob_is_pulled_whole_or_in_part(lab: Lab) -> None:
    data = bytes(range(256)) * 1000
    await lab.push_blob("team/app", data)
    path = f"/v2/team/app/blobs/{digest(data)}"
    answer = await lab.ask("GET", path)
    assert (answer.status, answer.body) == (200, data)
    assert answer.headers["Docker-Content-Digest"] == digest(data)
    for asked, start, end in (
        ("bytes=0-9", 0, 10),
        ("bytes=100-", 100, len(data)),
        ("bytes=-7", len(data) - 7, len(data)),
        ("bytes=255990-99999999999999999999999", 255990, len(data)),
        (f"bytes=-{10**30}", 0, len(data)),
    ):
        part = await lab.ask("GET", path, headers={"Range": asked})
        assert (part.status, part.body) == (206, data[start:end]), asked
        assert part.headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(data)}"


@pytest.mark.parametrize("asked", ["bytes=5-1", "bytes=a-b", "lines=1-2", "bytes=", "bytes=--1"])
async def test_what_is_no_range_is_ignored(lab: Lab, asked: str) -> None:
    await lab.push_blob("team/app", b"0123456789")
    answer = await lab.ask("GET", f"/v2/team/app/blobs/{digest(b'0123456789')}", headers={"Range": asked})
    assert (answer.status, answer.body) == (200, b"0123456789")


async def test_who_has_it_already_is_told_so(lab: Lab) -> None:
    data = await lab.push_image("team/app", "v1")
    for path in ("/v2/team/app/manifests/v1", f"/v2/team/app/blobs/{digest(b'layer')}"):
        etag = (await lab.ask("HEAD", path)).headers["ETag"]
        for given in (etag, f'"other", W/{etag}', "*"):
            for method in ("GET", "HEAD"):
                answer = await lab.ask(method, path, headers={"If-None-Match": given})
                assert (answer.status, answer.body) == (304, b"")
        assert (await lab.ask("GET", path, headers={"If-None-Match": '"other"'})).status == 200
    assert digest(data) in (await lab.ask("HEAD", "/v2/team/app/manifests/v1")).headers["ETag"]


async def test_if_range_of_something_else_gives_the_whole(lab: Lab) -> None:
    await lab.push_blob("team/app", b"0123456789")
    path = f"/v2/team/app/blobs/{digest(b'0123456789')}"
    etag = (await lab.ask("HEAD", path)).headers["ETag"]
    assert (await lab.ask("GET", path, headers={"Range": "bytes=1-2", "If-Range": etag})).body == b"12"
    assert (await lab.ask("GET", path, headers={"Range": "bytes=1-2", "If-Range": '"x"'})).body == b"0123456789"


# -- push -----------------------------------------------------------------------------------------------


async def begin(lab: Lab, name: str = "team/app") -> str:
    answer = await lab.ask("POST", f"/v2/{name}/blobs/uploads/")
    assert answer.status == 202
    assert answer.headers["Range"] == "0-0"
    assert answer.headers["Docker-Upload-UUID"] in answer.headers["Location"]
    return answer.headers["Location"]


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_a_blob_is_pushed_by_post_and_put(lab: Lab, algorithm: str) -> None:
    data = b"some bytes" * 100
    where = await begin(lab)
    answer = await lab.ask("PUT", f"{where}?digest={digest(data, algorithm)}", data=data)
    assert answer.status == 201
    assert answer.headers["Location"] == f"/v2/team/app/blobs/{digest(data, algorithm)}"
    assert (await lab.ask("GET", answer.headers["Location"])).body == data


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_a_blob_is_pushed_by_one_post(lab: Lab, algorithm: str) -> None:
    answer = await lab.push_blob("team/app", b"at once", algorithm)
    assert answer.status == 201
    assert (await lab.ask("GET", answer.headers["Location"])).body == b"at once"
    assert (await lab.push_blob("team/app", b"")).status == 201


async def test_a_blob_is_pushed_in_chunks(lab: Lab) -> None:
    where = await begin(lab)
    at = 0
    for chunk in (b"first", b"second"):
        headers = {"Content-Range": f"{at}-{at + len(chunk) - 1}", "Content-Type": "application/octet-stream"}
        answer = await lab.ask("PATCH", where, data=chunk, headers=headers)
        at += len(chunk)
        assert (answer.status, answer.headers["Range"]) == (202, f"0-{at - 1}")
        where = answer.headers["Location"]
    told = await lab.ask("GET", where)
    assert (told.status, told.headers["Range"]) == (204, "0-10")
    headers = {"Content-Range": "11-14"}
    answer = await lab.ask("PUT", f"{where}?digest={digest(b'firstsecondlast')}", data=b"last", headers=headers)
    assert answer.status == 201
    assert (await lab.ask("GET", answer.headers["Location"])).body == b"firstsecondlast"
    assert (await lab.ask("GET", where)).code == "BLOB_UPLOAD_UNKNOWN"


async def test_a_chunk_out_of_order_is_refused_and_told_where_to_go_on(lab: Lab) -> None:
    where = await begin(lab)
    await lab.ask("PATCH", where, data=b"12345", headers={"Content-Range": "0-4"})
    for content_range, data in (("0-4", b"12345"), ("7-8", b"ab")):
        answer = await lab.ask("PATCH", where, data=data, headers={"Content-Range": content_range})
        assert (answer.status, answer.headers["Range"]) == (416, "0-4")
        assert answer.headers["Location"] == where
    answer = await lab.ask("PATCH", where, data=b"abc", headers={"Content-Range": "5-9"})
    assert (answer.status, answer.code) == (400, "SIZE_INVALID")
    for nonsense in ("x-y", "9-5", "-", "5"):
        answer = await lab.ask("PATCH", where, data=b"abc", headers={"Content-Range": nonsense})
        assert (answer.status, answer.code) == (400, "BLOB_UPLOAD_INVALID")


async def test_bytes_that_are_not_what_the_digest_says_are_refused_and_forgotten(lab: Lab) -> None:
    where = await begin(lab)
    answer = await lab.ask("PUT", f"{where}?digest={digest(b'right')}", data=b"wrong")
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    for given in (digest(b"right"), digest(b"wrong")):
        assert (await lab.ask("HEAD", f"/v2/team/app/blobs/{given}")).status == 404
    where = await begin(lab)
    for query in ("", "?digest=nonsense", "?digest=md5:" + 32 * "0", "?digest=sha256:" + 64 * "G"):
        answer = await lab.ask("PUT", where + query, data=b"")
        assert (answer.status, answer.code) == (400, "DIGEST_INVALID")


async def test_an_upload_can_be_cancelled(lab: Lab) -> None:
    where = await begin(lab)
    assert (await lab.ask("DELETE", where)).status == 204
    for method in ("GET", "PATCH", "PUT", "DELETE"):
        assert (await lab.ask(method, f"{where}?digest={digest(b'')}")).code == "BLOB_UPLOAD_UNKNOWN"


async def test_a_session_is_of_no_use_to_another_repository(lab: Lab) -> None:
    where = await begin(lab, "team/app")
    answer = await lab.ask("PATCH", where.replace("team/app", "team/other"), data=b"x")
    assert (answer.status, answer.code) == (404, "BLOB_UPLOAD_UNKNOWN")


async def test_a_blob_is_mounted_from_another_repository(lab: Lab) -> None:
    await lab.push_blob("team/app", b"shared")
    given = digest(b"shared")
    answer = await lab.ask("POST", f"/v2/team/other/blobs/uploads/?mount={given}&from=team/app")
    assert (answer.status, answer.headers["Location"]) == (201, f"/v2/team/other/blobs/{given}")
    assert (await lab.ask("GET", f"/v2/team/other/blobs/{given}")).body == b"shared"
    anywhere = await lab.ask("POST", f"/v2/team/third/blobs/uploads/?mount={given}")
    assert anywhere.status == 201  # where everybody may read everything, any repository will do


async def test_what_cannot_be_mounted_becomes_an_upload(lab: Lab) -> None:
    for query in (f"mount={digest(b'no')}&from=team/app", f"mount={digest(b'no')}"):
        answer = await lab.ask("POST", f"/v2/team/other/blobs/uploads/?{query}")
        assert answer.status == 202
        assert (await lab.ask("GET", answer.headers["Location"])).status == 204


# -- manifests ------------------------------------------------------------------------------------------


async def test_a_manifest_whose_parts_are_missing_is_refused(lab: Lab) -> None:
    await lab.push_blob("team/app", b"{}")
    answer = await lab.put_manifest("team/app", "v1", manifest(b"{}", b"absent"))
    assert (answer.status, answer.code) == (404, "MANIFEST_BLOB_UNKNOWN")
    assert answer.json["errors"][0]["detail"] == {"digest": digest(b"absent")}
    await lab.push_blob("team/other", b"absent")  # in another repository does not count
    assert (await lab.put_manifest("team/app", "v1", manifest(b"{}", b"absent"))).status == 404
    foreign = manifest(b"{}")
    foreign["layers"] = [descriptor(b"absent", urls=["https://example.com/layer"])]
    assert (await lab.put_manifest("team/app", "v1", foreign)).status == 201


async def test_indexes_may_be_nested_but_not_be_of_nothing(lab: Lab) -> None:
    image = await lab.push_image("team/app", "amd64")
    inner = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(image, MANIFEST)]}
    assert (await lab.put_manifest("team/app", "inner", inner, INDEX)).status == 201
    outer = {"schemaVersion": 2, "manifests": [descriptor(json.dumps(inner).encode(), INDEX)]}
    answer = await lab.put_manifest("team/app", "outer", outer, INDEX)
    assert answer.status == 201
    assert (await lab.ask("GET", "/v2/team/app/manifests/outer")).headers["Content-Type"] == INDEX
    bad = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(b"absent", MANIFEST)]}
    assert (await lab.put_manifest("team/app", "bad", bad, INDEX)).code == "MANIFEST_BLOB_UNKNOWN"


async def test_dockers_types_are_taken_as_they_are(lab: Lab) -> None:
    for blob in (b"{}", b"layer"):
        await lab.push_blob("team/app", blob)
    image = manifest(b"{}", b"layer") | {"mediaType": DOCKER_MANIFEST}
    assert (await lab.put_manifest("team/app", "v1", image, DOCKER_MANIFEST)).status == 201
    listed = {
        "schemaVersion": 2,
        "mediaType": DOCKER_LIST,
        "manifests": [descriptor(json.dumps(image).encode(), DOCKER_MANIFEST)],
    }
    assert (await lab.put_manifest("team/app", "list", listed, DOCKER_LIST)).status == 201
    for tag, media_type in (("v1", DOCKER_MANIFEST), ("list", DOCKER_LIST)):
        assert (await lab.ask("HEAD", f"/v2/team/app/manifests/{tag}")).headers["Content-Type"] == media_type


@pytest.mark.parametrize(
    ("document", "media_type"),
    [
        (b"", MANIFEST),
        (b"{", MANIFEST),
        (b"[]", MANIFEST),
        (b'{"schemaVersion":2}', MANIFEST),
        (b'{"schemaVersion":1,"fsLayers":[]}', "application/vnd.docker.distribution.manifest.v1+prettyjws"),
        (b'{"schemaVersion":2,"manifests":[]}', MANIFEST),
        (b'{"schemaVersion":2,"manifests":[]}', "text/plain"),
        (b'{"schemaVersion":2,"mediaType":"%s","manifests":[]}' % DOCKER_LIST.encode(), INDEX),
        (b'{"schemaVersion":2,"manifests":[],"layers":[]}', INDEX),
        (b"\xff\xfe", MANIFEST),
        (b"[" * 100_000, MANIFEST),
    ],
)
async def test_what_is_no_manifest_is_refused(lab: Lab, document: bytes, media_type: str) -> None:
    answer = await lab.put_manifest("team/app", "v1", document, media_type)
    assert (answer.status, answer.code) == (400, "MANIFEST_INVALID")
    assert (await lab.ask("GET", "/v2/team/app/manifests/v1")).status == 404


async def test_a_manifest_pushed_by_digest_has_to_be_that(lab: Lab) -> None:
    await lab.push_blob("team/app", b"{}")
    data = json.dumps(manifest(b"{}")).encode()
    assert (await lab.put_manifest("team/app", digest(b"other"), data)).code == "DIGEST_INVALID"
    for algorithm in ("sha256", "sha512"):
        given = digest(data, algorithm)
        answer = await lab.put_manifest("team/app", given, data)
        assert (answer.status, answer.headers["Docker-Content-Digest"]) == (201, given)
        assert (await lab.ask("GET", f"/v2/team/app/manifests/{given}")).body == data


async def test_a_manifest_has_a_limit(lab: Lab) -> None:
    data = b'{"schemaVersion":2,"manifests":[]}' + b" " * (4 << 20)
    answer = await lab.put_manifest("team/app", "v1", data, INDEX)
    assert (answer.status, answer.code) == (413, "SIZE_INVALID")


@pytest.mark.parametrize("tag", [".x", "-x", "a" * 129, "a%20b", "ü"])
async def test_what_is_no_tag_is_refused(lab: Lab, tag: str) -> None:
    answer = await lab.put_manifest("team/app", tag, {"schemaVersion": 2, "manifests": []}, INDEX)
    assert (answer.status, answer.code) == (400, "TAG_INVALID")
    assert (await lab.ask("GET", f"/v2/team/app/manifests/{tag}")).status == 404


# -- referrers ------------------------------------------------------------------------------------------


async def refer(lab: Lab, subject: bytes, kind: str, tag: str | None = None) -> tuple[Any, str]:
    document = manifest(b"{}", subject=descriptor(subject, MANIFEST), artifactType=kind, annotations={"of": kind})
    data = json.dumps(document).encode()
    await lab.push_blob("team/app", b"{}")
    answer = await lab.put_manifest("team/app", tag or digest(data), data)
    assert answer.status == 201
    return answer, digest(data)


async def test_what_refers_to_a_manifest_is_listed_and_filtered(lab: Lab) -> None:
    image = await lab.push_image("team/app", "v1")
    signed, signature = await refer(lab, image, "application/signature")
    assert signed.headers["OCI-Subject"] == digest(image)
    _, bill = await refer(lab, image, "application/bill", "bill")
    answer = await lab.ask("GET", f"/v2/team/app/referrers/{digest(image)}")
    assert (answer.status, answer.headers["Content-Type"]) == (200, INDEX)
    assert {entry["digest"] for entry in answer.json["manifests"]} == {signature, bill}
    assert {entry["artifactType"] for entry in answer.json["manifests"]} == {
        "application/signature",
        "application/bill",
    }
    assert answer.json["manifests"][0]["annotations"]["of"]
    one = await lab.ask("GET", f"/v2/team/app/referrers/{digest(image)}?artifactType=application/bill")
    assert one.headers["OCI-Filters-Applied"] == "artifactType"
    assert [entry["digest"] for entry in one.json["manifests"]] == [bill]
    assert "OCI-Filters-Applied" not in answer.headers


async def test_a_subject_need_not_be_there_and_without_a_type_the_configuration_says_it(lab: Lab) -> None:
    await lab.push_blob("team/app", b"{}")
    answer = await lab.put_manifest("team/app", "x", manifest(b"{}", subject=descriptor(b"later", MANIFEST)))
    assert answer.headers["OCI-Subject"] == digest(b"later")
    listed = await lab.ask("GET", f"/v2/team/app/referrers/{digest(b'later')}")
    assert [entry["artifactType"] for entry in listed.json["manifests"]] == [CONFIG]


async def test_nothing_refers_to_what_is_not_there(lab: Lab) -> None:
    answer = await lab.ask("GET", f"/v2/nobody/referrers/{digest(b'x')}")
    assert (answer.status, answer.json["manifests"]) == (200, [])
    assert (await lab.ask("GET", "/v2/nobody/referrers/x")).code == "DIGEST_INVALID"


async def test_a_referrer_that_is_deleted_is_listed_no_more(lab: Lab) -> None:
    image = await lab.push_image("team/app", "v1")
    _, signature = await refer(lab, image, "application/signature")
    assert (await lab.ask("DELETE", f"/v2/team/app/manifests/{signature}")).status == 202
    assert (await lab.ask("GET", f"/v2/team/app/referrers/{digest(image)}")).json["manifests"] == []


async def test_referrers_come_in_pages(lab: Lab) -> None:
    image = await lab.push_image("team/app", "v1")
    given = {(await refer(lab, image, f"application/kind{number}"))[1] for number in range(5)}
    path: str | None = f"/v2/team/app/referrers/{digest(image)}?n=2"
    found = []
    while path:
        answer = await lab.ask("GET", path)
        found += [entry["digest"] for entry in answer.json["manifests"]]
        path = next_page(answer.headers)
    assert (len(found), set(found)) == (5, given)


# -- lists and deleting ---------------------------------------------------------------------------------


def next_page(headers: Any) -> str | None:
    link = headers.get("Link")
    if link is None:
        return None
    assert link.endswith('; rel="next"')
    return str(link[1 : link.index(">")])


async def test_tags_are_listed_in_order_and_in_pages(lab: Lab) -> None:
    image = await lab.push_image("team/app", "b")
    for tag in ("C", "a", "1.0", "d"):
        await lab.put_manifest("team/app", tag, image)
    everything = await lab.ask("GET", "/v2/team/app/tags/list")
    assert everything.json == {"name": "team/app", "tags": ["1.0", "a", "b", "C", "d"]}
    assert "Link" not in everything.headers
    found: list[str] = []
    path: str | None = "/v2/team/app/tags/list?n=2"
    while path:
        answer = await lab.ask("GET", path)
        assert len(answer.json["tags"]) <= 2
        found += answer.json["tags"]
        path = next_page(answer.headers)
    assert found == ["1.0", "a", "b", "C", "d"]
    assert (await lab.ask("GET", "/v2/team/app/tags/list?last=b")).json["tags"] == ["C", "d"]
    assert (await lab.ask("GET", "/v2/team/app/tags/list?n=0")).json["tags"] == []
    for nonsense in ("-1", "x", "1.5", "²"):
        answer = await lab.ask("GET", f"/v2/team/app/tags/list?n={nonsense}")
        assert (answer.status, answer.code) == (400, "PAGINATION_NUMBER_INVALID")


async def test_the_catalogue_names_repositories_that_have_something(lab: Lab) -> None:
    image = await lab.push_image("b/c/d", "v1")
    await lab.push_image("a", "v1")
    await lab.push_blob("only/blobs", b"x")
    assert (await lab.ask("GET", "/v2/_catalog")).json == {"repositories": ["a", "b/c/d"]}
    first = await lab.ask("GET", "/v2/_catalog?n=1")
    assert first.json == {"repositories": ["a"]}
    assert (await lab.ask("GET", next_page(first.headers) or "")).json == {"repositories": ["b/c/d"]}
    await lab.ask("DELETE", f"/v2/b/c/d/manifests/{digest(image)}")
    assert (await lab.ask("GET", "/v2/_catalog")).json == {"repositories": ["a"]}


async def test_a_tag_is_deleted_and_the_manifest_stays(lab: Lab) -> None:
    image = await lab.push_image("team/app", "v1")
    assert (await lab.ask("DELETE", "/v2/team/app/manifests/v1")).status == 202
    assert (await lab.ask("GET", "/v2/team/app/manifests/v1")).status == 404
    assert (await lab.ask("GET", f"/v2/team/app/manifests/{digest(image)}")).status == 200
    assert (await lab.ask("DELETE", "/v2/team/app/manifests/v1")).code == "MANIFEST_UNKNOWN"


async def test_a_manifest_is_deleted_with_its_tags(lab: Lab) -> None:
    image = await lab.push_image("team/app", "v1")
    await lab.put_manifest("team/app", "v2", image)
    await lab.push_image("team/app", "other")
    assert (await lab.ask("DELETE", f"/v2/team/app/manifests/{digest(image)}")).status == 202
    assert (await lab.ask("GET", "/v2/team/app/tags/list")).json["tags"] == ["other"]
    for reference in ("v1", digest(image)):
        assert (await lab.ask("GET", f"/v2/team/app/manifests/{reference}")).status == 404


async def test_a_blob_is_deleted_from_one_repository(lab: Lab) -> None:
    for name in ("team/app", "team/other"):
        await lab.push_blob(name, b"data")
    path = f"blobs/{digest(b'data')}"
    assert (await lab.ask("DELETE", f"/v2/team/app/{path}")).status == 202
    assert (await lab.ask("HEAD", f"/v2/team/app/{path}")).status == 404
    assert (await lab.ask("DELETE", f"/v2/team/app/{path}")).code == "BLOB_UNKNOWN"
    assert (await lab.ask("GET", f"/v2/team/other/{path}")).body == b"data"


async def test_other_methods_are_told_what_is_possible(lab: Lab) -> None:
    for path, method, allowed in (
        ("/v2/", "POST", "GET, HEAD"),
        ("/v2/team/app/manifests/x", "PATCH", "GET, HEAD, PUT, DELETE"),
        ("/v2/team/app/blobs/uploads/", "GET", "POST"),
        ("/v2/team/app/tags/list", "DELETE", "GET"),
    ):
        answer = await lab.ask(method, path)
        assert (answer.status, answer.code, answer.headers["Allow"]) == (405, "UNSUPPORTED", allowed)
    assert (await lab.ask("GET", "/v1/search")).status == 404


async def test_a_client_that_waits_to_be_asked_for_its_body_is_asked(lab: Lab) -> None:
    async with asyncio.timeout(20):
        answer = await lab.push_blob("team/app", b"x" * 1_500_000, expect100=True)
    assert answer.status == 201


async def test_names_with_the_words_of_the_protocol_in_them_are_names(lab: Lab) -> None:
    for name in ("manifests/blobs", "a/manifests/b", "tags/list", "blobs/uploads"):
        image = await lab.push_image(name, "v1", layer=uuid.uuid4().bytes)
        assert (await lab.ask("GET", f"/v2/{name}/manifests/v1")).body == image
        assert (await lab.ask("GET", f"/v2/{name}/tags/list")).json["tags"] == ["v1"]


@pytest.mark.parametrize(
    "name",
    [
        "..",
        "a/../b",
        "%2e%2e/x",
        "a/%2e%2e/%2e%2e/x",
        "A",
        "a//b",
        "-a",
        "a_",
        "_blobs",
        "a/_tags",
        "a%00b",
        "a b",
        "x" * 256,
    ],
)
async def test_tricks_in_names_are_refused(lab: Lab, name: str, tmp_path: Path) -> None:
    from yarl import URL  # noqa: PLC0415 - so that the client does not tidy the path up

    url = URL(f"{lab.url}/v2/{name.replace(' ', '%20')}/blobs/uploads/", encoded=True)
    async with lab.session.post(url) as response:
        assert response.status in (400, 404)
        assert (await response.json())["errors"][0]["code"] in ("NAME_INVALID", "UNSUPPORTED")
