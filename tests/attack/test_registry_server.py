"""What somebody who may push a little, or nothing, tries at a registry. Any user can run these."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from support.registry_harness import INDEX, LAYER, MANIFEST, Who, descriptor, digest, manifest, registry
from support.registry_process import running
from wherry.registry.server.access.hash_turns import Guesses, Turns
from wherry.registry.server.access.passwords import Passwords
from wherry.registry.server.errors import Refusal

bcrypt = pytest.importorskip("bcrypt")
pytest.importorskip("jwt")

ALICE, EVE = Who("alice", "wonder:land"), Who("eve", "evil")
RULES = [
    {"user": "alice", "repositories": "*", "actions": ["*"]},
    {"user": "eve", "repositories": "eve/*", "actions": ["pull", "push"]},
]


def line(who: Who, cost: int = 4) -> str:
    return f"{who.login}:{bcrypt.hashpw(who.password.encode(), bcrypt.gensalt(cost)).decode()}\n"


@pytest.fixture
def users(tmp_path: Path) -> Path:
    path = tmp_path / "users"
    path.write_text(line(ALICE) + line(EVE))
    return path


@pytest.fixture(params=["files", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "registry" if request.param == "files" else None


# -- other people's blobs -------------------------------------------------------------------------------


async def test_an_upload_that_was_finished_meanwhile_cannot_change_what_became_of_it(root: Path | None) -> None:
    """A PATCH that is held open, the upload finished by another request, and the PATCH gone on with."""
    secret = b"what is everybody's"
    async with registry(root) as lab:
        assert (await lab.push_blob("team/app", secret)).status == 201
        where = (await lab.ask("POST", "/v2/eve/x/blobs/uploads/")).headers["Location"]
        assert (await lab.ask("PATCH", where, data=secret)).status == 202
        arrived, go_on = asyncio.Event(), asyncio.Event()

        async def held() -> AsyncIterator[bytes]:
            arrived.set()
            await go_on.wait()
            yield b"poison"

        # the body is asked for when the upload is open for appending
        patch = asyncio.create_task(lab.ask("PATCH", where, data=held(), expect100=True))
        await arrived.wait()
        finished = await lab.ask("PUT", f"{where}?digest={digest(secret)}")
        go_on.set()
        assert (finished.status, finished.code) == (409, "BLOB_UPLOAD_INVALID")
        assert (await patch).status == 202
        assert (await lab.ask("PUT", f"{where}?digest={digest(secret)}")).status == 400
        assert (await lab.ask("GET", f"/v2/team/app/blobs/{digest(secret)}")).body == secret


async def test_many_who_finish_and_append_at_once_leave_what_the_digest_says(root: Path | None) -> None:
    data = os.urandom(100_000)
    async with registry(root) as lab:
        for _ in range(10):
            where = (await lab.ask("POST", "/v2/eve/x/blobs/uploads/")).headers["Location"]
            await lab.ask("PATCH", where, data=data)
            await asyncio.gather(
                *(lab.ask("PATCH", where, data=b"poison" * 10_000) for _ in range(4)),
                *(lab.ask("PUT", f"{where}?digest={digest(data)}") for _ in range(2)),
                lab.ask("DELETE", where),
            )
            assert (await lab.push_blob("team/app", data)).status == 201
            assert (await lab.ask("GET", f"/v2/team/app/blobs/{digest(data)}")).body == data


async def test_blobs_of_the_engine_beside_it_go_to_the_repositories_that_were_named_for_them(
    tmp_path: Path, users: Path
) -> None:
    config, layer, other = b'{"of": "engine"}', b"the engine's layer", b"of an image with a name elsewhere"
    content = tmp_path / "engine/content"
    (content / "blobs/sha256").mkdir(parents=True)
    document = json.dumps(manifest(config, layer)).encode()
    private = json.dumps(manifest(config, other)).encode()
    for blob in (config, layer, other, document, private):
        (content / "blobs" / digest(blob).replace(":", "/")).write_bytes(blob)

    def name(port: int) -> None:
        named = [(document, f"localhost:{port}/team/app:1"), (private, "registry.example.com:5000/eve/app:1")]
        entries = [descriptor(data, MANIFEST, annotations={"io.containerd.image.name": n}) for data, n in named]
        (content / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))

    auth = {"mode": "basic", "htpasswd": str(users)}
    storage = {"engine": str(tmp_path / "engine")}
    for open_to_all in (False, True):
        settings = {} if open_to_all else {"auth": auth, "access": RULES}
        async with registry(tmp_path / f"registry{open_to_all}", storage=storage, **settings) as lab:
            name(int(lab.url.rpartition(":")[2]))
            who: dict[str, Any] = {} if open_to_all else {"auth": EVE}
            for blob in (config, layer, other):
                for host in ({}, {"Host": "registry.example.com:5000"}):
                    path = f"/v2/eve/app/blobs/{digest(blob)}"
                    assert (await lab.ask("HEAD", path, headers=host, **who)).status == 404
                mount = f"/v2/eve/app/blobs/uploads/?mount={digest(blob)}"
                for more in ("", "&from=team/app", "&from=eve/app"):
                    assert (await lab.ask("POST", mount + more, **who)).status == 202
            who = {} if open_to_all else {"auth": ALICE}
            assert (await lab.ask("HEAD", f"/v2/team/app/blobs/{digest(layer)}", **who)).status == 200
            assert (await lab.ask("GET", f"/v2/team/app/blobs/{digest(layer)}", **who)).body == layer
            assert (await lab.ask("HEAD", f"/v2/team/app/blobs/{digest(other)}", **who)).status == 404


# -- room -----------------------------------------------------------------------------------------------


async def slowly(size: int, piece: int = 64 << 10) -> AsyncIterator[bytes]:
    for _ in range(0, size, piece):
        yield b"\0" * piece


def stored(root: Path) -> int:
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


async def test_a_quota_holds_while_bytes_arrive_and_for_what_is_never_finished(tmp_path: Path) -> None:
    """60 MB at a quota of 1: chunked, so that no length is told; by one, by many at once, and one after the other."""
    async with registry(tmp_path, quota=[{"repositories": "*", "size": "1M"}]) as lab:

        async def push(_: int) -> int:
            where = (await lab.ask("POST", "/v2/eve/x/blobs/uploads/")).headers.get("Location")
            return (await lab.ask("PATCH", where, data=slowly(4 << 20))).status if where else 403

        assert await push(0) == 403
        assert set(await asyncio.gather(*map(push, range(15)))) == {403}
        at_once = await lab.ask("POST", f"/v2/eve/x/blobs/uploads/?digest={digest(b'')}", data=slowly(4 << 20))
        assert at_once.status == 403
        assert await asyncio.to_thread(stored, tmp_path) <= 1 << 20
        assert (await lab.push_blob("eve/x", b"x" * 900_000)).status == 201, "what was refused is given back"
        where = (await lab.ask("POST", "/v2/eve/x/blobs/uploads/")).headers["Location"]
        assert (await lab.ask("PATCH", where, data=b"y" * 100_000)).status == 202
        assert (await lab.push_blob("eve/x", b"z" * 100_000)).status == 403, "what is not finished counts"
        assert (await lab.push_blob("eve/x", b"x" * 900_000)).status == 403, "also when it is there in the end"
        assert (await lab.ask("DELETE", where)).status == 204
        assert (await lab.push_blob("eve/x", b"z" * 100_000)).status == 201
        for _ in range(20):  # the same blob again and again is one blob
            assert (await lab.push_blob("eve/x", b"z" * 20_000)).status == 201
    # another process knows of none of this
    async with registry(tmp_path, quota=[{"repositories": "*", "size": "1M"}]) as lab:
        assert (await lab.push_blob("eve/x", b"w" * 100_000)).status == 403


async def test_manifests_that_are_pushed_at_once_do_not_pass_the_quota_together() -> None:
    async with registry(quota=[{"repositories": "*", "size": "100K"}]) as lab:
        documents = [
            json.dumps({"schemaVersion": 2, "manifests": [], "annotations": {"n": f"{n}" * 30_000}}).encode()
            for n in range(9)
        ]
        answers = await asyncio.gather(
            *(lab.put_manifest("eve/x", f"t{n}", data, INDEX) for n, data in enumerate(documents))
        )
        assert [answer.status for answer in answers].count(201) == 3


# -- documents ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", ["-5", "-1", "1" + "0" * 400, "1" + "0" * 5000, str(2**63), "1e3", "null", '"5"'])
async def test_sizes_that_nothing_can_have_are_refused(size: str) -> None:
    config = b"{}"
    async with registry() as lab:
        await lab.push_blob("eve/x", config)
        good = json.dumps(descriptor(config))
        of_config = json.dumps(descriptor(config)).replace(f'"size": {len(config)}', f'"size": {size}')
        for document, kind in (
            (f'{{"schemaVersion": 2, "config": {of_config}, "layers": []}}', MANIFEST),
            (f'{{"schemaVersion": 2, "config": {good}, "layers": [{of_config}]}}', MANIFEST),
            (f'{{"schemaVersion": 2, "manifests": [], "subject": {of_config}}}', INDEX),
            (f'{{"schemaVersion": {size}, "manifests": []}}', INDEX),
        ):
            answer = await lab.put_manifest("eve/x", "t", document.encode(), kind)
            assert (answer.status, answer.code) == (400, "MANIFEST_INVALID"), document[:200]


@pytest.mark.parametrize("place", ["config", "layers", "subject", "manifests"])
@pytest.mark.parametrize("value", [None, 5, [], {}, True, "sha256:zz"])
async def test_digests_that_are_none_are_refused_and_no_fault_of_the_servers(place: str, value: Any) -> None:
    entry = {"mediaType": LAYER, "digest": value, "size": 1}
    document: dict[str, Any] = {"schemaVersion": 2, place: [entry] if place in ("layers", "manifests") else entry}
    if place == "layers":
        document["config"] = descriptor(b"{}")
    kind = INDEX if place in ("manifests", "subject") else MANIFEST
    if place == "subject":
        document["manifests"] = []
    async with registry() as lab:
        answer = await lab.put_manifest("eve/x", "t", document, kind)
        assert (answer.status, answer.code) == (400, "MANIFEST_INVALID")


async def test_a_list_of_referrers_comes_in_pages_however_long_its_annotations_are(tmp_path: Path) -> None:
    """A hundred referrers with half a megabyte of annotations each."""
    async with registry(tmp_path) as lab:
        subject = descriptor(b"whatever", MANIFEST)
        pushed = set()
        for number in range(40):
            kind = "application/x-odd" if number % 2 else "application/x-even"
            document = json.dumps(
                {
                    "schemaVersion": 2,
                    "manifests": [],
                    "subject": subject,
                    "artifactType": kind,
                    "annotations": {"long": f"{number:06}" * 50_000},
                }
            ).encode()
            assert (await lab.put_manifest("eve/x", digest(document), document, INDEX)).status == 201
            pushed.add(digest(document))
        for query, count in (("", 40), ("?artifactType=application/x-odd", 20), ("?n=7", 40)):
            path: str | None = f"/v2/eve/x/referrers/{subject['digest']}{query}"
            found: list[str] = []
            while path:
                answer = await lab.ask("GET", path)
                assert answer.status == 200
                assert len(answer.body) < 2 << 20
                found += [entry["digest"] for entry in answer.json["manifests"]]
                link = answer.headers.get("Link")
                path = link.partition("<")[2].partition(">")[0] if link else None
            assert len(found) == len(set(found)) == count
            assert set(found) <= pushed
        assert (await lab.ask("GET", f"/v2/eve/x/referrers/{subject['digest']}?last=../../x")).status == 400


# -- who is who -----------------------------------------------------------------------------------------


def _rewrite(path: Path, text: str) -> None:
    path.write_text(text)


async def test_a_refresh_token_ends_with_the_password_and_with_the_user(users: Path) -> None:
    told = {"auth": {"mode": "token", "htpasswd": str(users)}, "access": RULES}
    async with registry(**told) as lab:
        kept = (await lab.ask("GET", "/token?service=wherry-registry&offline_token=true", auth=EVE)).json
        access = (await lab.ask("GET", "/token?scope=repository:eve/x:push,pull", auth=EVE)).json["token"]
        form = {"grant_type": "refresh_token", "service": "wherry-registry", "refresh_token": kept["refresh_token"]}

        async def works() -> tuple[int, int]:
            pushed = await lab.push_blob("eve/x", b"x", headers={"Authorization": f"Bearer {access}"})
            return (await lab.ask("POST", "/token", data=form)).status, pushed.status

        assert await works() == (200, 201)
        assert (await lab.ask("POST", "/token", data=form)).json["refresh_token"] == kept["refresh_token"], (
            "one that renews itself never ends"
        )
        _rewrite(users, line(ALICE) + line(Who("eve", "another")))
        assert await works() == (401, 401)
        _rewrite(users, line(ALICE) + line(EVE))
        assert await works() == (401, 401), "the same password, set anew"
        _rewrite(users, line(ALICE))
        assert await works() == (401, 401)
        _rewrite(users, "nonsense")
        assert await works() == (401, 401), "a file that is being written"
        assert (await lab.ask("GET", "/token", auth=ALICE)).status == 200


async def test_a_name_that_is_not_there_costs_as_much_as_one_that_is(tmp_path: Path) -> None:
    """What is hashed is asked, not the time it takes, which a busy machine makes up."""
    path = tmp_path / "users"
    path.write_text(line(Who("a", "a"), 5) + line(Who("b", "b"), 7))
    passwords = Passwords(path)
    hashed: list[bytes] = []
    right = passwords._check_password

    def noting(password: bytes, against: bytes) -> bool:
        hashed.append(against[4:6])
        return bool(right(password, against))

    passwords._check_password = noting
    for name in ("a", "b", *(f"nobody{n}" for n in range(40))):
        assert await passwords.check(name, "wrong", "here") is None
    assert hashed[:2] == [b"05", b"07"]
    assert len(hashed) == 42
    assert {hashed[2:].count(b"05") + hashed[2:].count(b"07")} == {40}
    assert hashed[2:].count(b"05") > 5 < hashed[2:].count(b"07")


@pytest.mark.parametrize("bad", ["$2y$05$short", "$2y$99$" + "." * 53, "$2y$05$" + "!" * 53, "$apr1$x$y"])
async def test_a_line_that_would_be_refused_at_once_is_no_line(tmp_path: Path, bad: str) -> None:
    path = tmp_path / "users"
    path.write_text(f"alice:{bad}\n")
    with pytest.raises(Exception, match="not a bcrypt password"):
        Passwords(path)


async def test_guessing_stops_no_push_and_nobody_elses_log_in(tmp_path: Path) -> None:
    """Every thread that hashes is held up, and there are far more wrong passwords than threads."""
    path = tmp_path / "users"
    path.write_text(line(ALICE) + line(EVE))
    auth = {"mode": "basic", "htpasswd": str(path), "anonymous_read": True}
    async with registry(tmp_path / "registry", auth=auth, access=RULES) as lab:
        assert (await lab.push_blob("team/app", b"x", auth=ALICE)).status == 201
        passwords: Passwords = lab.assembly.services.authority._passwords  # type: ignore[attr-defined]
        right, released = passwords._check_password, threading.Event()

        def held(password: bytes, against: bytes) -> bool:
            released.wait(30)
            return bool(right(password, against))

        passwords._check_password = held
        guesses = [asyncio.create_task(lab.ask("GET", "/v2/", auth=Who(f"user{n}", "wrong"))) for n in range(60)]
        try:
            for n in range(5):
                assert (await lab.push_blob("team/app", b"%d" % n, auth=ALICE)).status == 201
            assert (await lab.ask("GET", f"/v2/team/app/blobs/{digest(b'1')}")).body == b"1"
        finally:
            released.set()
        statuses = [(await guess).status for guess in guesses]
        assert set(statuses) == {401, 429}
        assert statuses.count(429) >= 60 - 40, "so many wait, and no more"


async def test_addresses_take_turns() -> None:
    turns = Turns(1)
    order: list[str] = []

    def work(who: str) -> bool:
        order.append(who)
        return True

    waiting = [asyncio.create_task(turns.take("guesser", work, "guesser")) for _ in range(20)]
    await asyncio.sleep(0)
    waiting.append(asyncio.create_task(turns.take("other", work, "other")))
    waiting[5].cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert order.index("other") <= 2
    assert order.count("guesser") == 19
    assert await turns.take("later", work, "later")


def test_who_was_wrong_often_has_to_wait_and_only_they(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    guesses = Guesses(free=3, seconds=2.0)
    for _ in range(3):
        guesses.require("there", "alice")
        guesses.wrong("there", "alice")
    with pytest.raises(Refusal) as refused:
        guesses.require("there", "alice")
    assert refused.value.status == 429
    assert int(refused.value.headers["Retry-After"]) <= 3
    guesses.require("there", "bob")
    guesses.require("elsewhere", "alice")
    now += 2.0
    guesses.require("there", "alice")
    guesses.right("there", "alice")
    guesses.wrong("there", "alice")
    guesses.require("there", "alice")


async def test_the_same_wrong_password_from_one_address_is_told_to_wait(users: Path) -> None:
    async with registry(auth={"mode": "basic", "htpasswd": str(users)}, access=RULES) as lab:
        statuses = [(await lab.ask("GET", "/v2/", auth=Who("alice", f"{n}"))).status for n in range(12)]
        assert statuses == [401] * 10 + [429] * 2
        assert (await lab.ask("GET", "/v2/", auth=EVE)).status == 200


# -- files ----------------------------------------------------------------------------------------------


def modes(root: Path) -> dict[str, int]:
    return {str(path.relative_to(root)): path.lstat().st_mode & 0o777 for path in [root, *root.rglob("*")]}


async def test_nobody_else_on_the_machine_can_read_what_a_registry_keeps(tmp_path: Path, users: Path) -> None:
    root = tmp_path / "registry"
    mask = os.umask(0)
    try:
        async with registry(root, auth={"mode": "token", "htpasswd": str(users)}) as lab:
            token = (await lab.ask("GET", "/token?scope=repository:a/b:push,pull", auth=ALICE)).json["token"]
            bearer = {"Authorization": f"Bearer {token}"}
            assert (await lab.push_blob("a/b", b"x", headers=bearer)).status == 201
            await lab.ask("POST", "/v2/a/b/blobs/uploads/", headers=bearer)
        found = await asyncio.to_thread(modes, root)
    finally:
        os.umask(mask)
    assert found["keys"] == found["."] == 0o700
    assert found["keys/token"] == 0o600
    assert {path: mode for path, mode in found.items() if mode & 0o077} == {}


def test_a_secret_that_others_could_read_is_a_secret_no_more(tmp_path: Path, users: Path) -> None:
    root = tmp_path / "registry"
    (root / "keys").mkdir(parents=True)
    (root / "blobs").mkdir()
    (root / "mine").mkdir()
    for path in (root, root / "keys", root / "blobs", root / "mine"):
        path.chmod(0o755)
    (root / "keys/token").write_text("known to everybody" * 4)
    (root / "keys/token").chmod(0o644)
    users.chmod(0o644)
    config = tmp_path / "config.toml"
    config.write_text(f'root = "{root}"\nworkers = 2\n[auth]\nmode = "token"\nhtpasswd = "{users}"\n')
    with running("--config", str(config)) as server:
        asyncio.run(_ask(server.url))
        server.process.terminate()
        assert server.process.stderr
        said = server.process.stderr.read().decode()
    assert "could be read by others, and is made anew" in said
    assert f"'{users}' can be read by everybody" in said
    found = modes(root)
    assert (found["keys/token"], found["keys"], found["blobs"]) == (0o600, 0o750, 0o750)
    assert (found["."], found["mine"]) == (0o755, 0o755), "that is somebody else's to say"
    assert "known" not in (root / "keys/token").read_text()


async def _ask(url: str) -> None:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/token") as answer:
        assert answer.status == 200
