"""Who may do what at a registry: passwords, tokens, rules; and what is around that: quotas, webhooks, figures, TLS."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from support import needs
from support.registry_harness import Lab, Who, digest, registry
from wherry.errors import InvalidInput
from wherry.registry.server.identity import scopes
from wherry.registry.server.settings import Tls, load
from wherry.registry.server.tls import tls_context

bcrypt = pytest.importorskip("bcrypt")
jwt = pytest.importorskip("jwt")

ALICE, BOB = Who("alice", "wonder:land"), Who("bob", "builder")
RULES = [
    {"user": "alice", "repositories": "team/*", "actions": ["pull", "push", "delete"]},
    {"user": "*", "repositories": "team/*", "actions": ["pull"]},
    {"user": "alice", "repositories": "*", "actions": ["catalog"]},
    {"user": "anonymous", "repositories": "public/*", "actions": ["pull"]},
    {"user": "alice", "repositories": "public/*", "actions": ["*"]},
]


@pytest.fixture
def htpasswd(tmp_path: Path) -> str:
    path = tmp_path / "htpasswd"
    lines = [f"{who.login}:{bcrypt.hashpw(who.password.encode(), bcrypt.gensalt(4)).decode()}" for who in (ALICE, BOB)]
    path.write_text("# people\n" + "\n".join(lines) + "\n")
    return str(path)


def basic(htpasswd: str, **more: Any) -> dict[str, Any]:
    return {"auth": {"mode": "basic", "htpasswd": htpasswd, **more}, "access": RULES}


# -- passwords ------------------------------------------------------------------------------------------


async def test_without_a_password_one_is_asked_for_it(htpasswd: str) -> None:
    async with registry(**basic(htpasswd)) as lab:
        for path in ("/v2/", "/v2/team/app/tags/list", "/v2/_catalog"):
            answer = await lab.ask("GET", path)
            assert (answer.status, answer.code) == (401, "UNAUTHORIZED")
            assert answer.headers["WWW-Authenticate"].startswith("Basic realm=")


async def test_a_wrong_password_is_refused_whoever_it_is(htpasswd: str) -> None:
    async with registry(**basic(htpasswd)) as lab:
        for who in (Who("alice", "wrong"), Who("nobody", "x"), Who("alice", "x" * 100)):
            for path in ("/v2/", "/v2/public/app/tags/list"):
                answer = await lab.ask("GET", path, auth=who)
                assert (answer.status, answer.code) == (401, "UNAUTHORIZED")
                assert answer.json["errors"][0]["message"] == "incorrect username or password"
        assert (await lab.ask("GET", "/v2/", headers={"Authorization": "Basic !!!"})).status == 401
        for _ in range(2):  # the second time from memory
            assert (await lab.ask("GET", "/v2/", auth=ALICE)).status == 200


async def test_the_rules_say_who_may_do_what(htpasswd: str) -> None:
    async with registry(**basic(htpasswd)) as lab:
        given = digest(b"data")
        assert (await lab.push_blob("team/app", b"data", auth=ALICE)).status == 201
        assert (await lab.ask("GET", f"/v2/team/app/blobs/{given}", auth=BOB)).body == b"data"
        for answer in (
            await lab.push_blob("team/app", b"data", auth=BOB),
            await lab.ask("DELETE", f"/v2/team/app/blobs/{given}", auth=BOB),
            await lab.ask("GET", "/v2/_catalog", auth=BOB),
            await lab.push_blob("other/app", b"data", auth=ALICE),
        ):
            assert (answer.status, answer.code) == (403, "DENIED")
        assert (await lab.ask("GET", "/v2/_catalog", auth=ALICE)).status == 200
        assert (await lab.ask("DELETE", f"/v2/team/app/blobs/{given}", auth=ALICE)).status == 202


async def test_anonymous_may_do_what_the_rules_give_to_anonymous(htpasswd: str) -> None:
    async with registry(**basic(htpasswd)) as lab:
        await lab.push_blob("public/app", b"data", auth=ALICE)
        assert (await lab.ask("GET", f"/v2/public/app/blobs/{digest(b'data')}")).status == 200
        assert (await lab.push_blob("public/app", b"data")).status == 401
        nobody = {"Authorization": "Basic Og=="}  # as skopeo says that it has no name and no password
        assert (await lab.ask("GET", f"/v2/public/app/blobs/{digest(b'data')}", headers=nobody)).status == 200
        assert (await lab.ask("GET", "/v2/", headers=nobody)).status == 401


async def test_everybody_may_read_when_that_is_switched_on(htpasswd: str) -> None:
    told = {"auth": {"mode": "basic", "htpasswd": htpasswd, "anonymous_read": True}}
    async with registry(**told) as lab:
        await lab.push_blob("team/app", b"data", auth=BOB)
        assert (await lab.ask("GET", f"/v2/team/app/blobs/{digest(b'data')}")).status == 200
        assert (await lab.push_blob("team/app", b"data")).status == 401
        assert (await lab.ask("GET", "/v2/")).status == 401  # so that clients learn how to log in


async def test_nothing_is_mounted_from_where_one_may_not_pull(htpasswd: str) -> None:
    rules = [
        {"user": "alice", "repositories": "secret/*", "actions": ["*"]},
        {"user": "bob", "repositories": "team/*", "actions": ["*"]},
    ]
    async with registry(auth={"mode": "basic", "htpasswd": htpasswd}, access=rules) as lab:
        await lab.push_blob("secret/app", b"secret", auth=ALICE)
        given = digest(b"secret")
        for query in (f"mount={given}&from=secret/app", f"mount={given}"):
            answer = await lab.ask("POST", f"/v2/team/app/blobs/uploads/?{query}", auth=BOB)
            assert answer.status == 202  # an upload, as if there were nothing to mount
        assert (await lab.ask("HEAD", f"/v2/team/app/blobs/{given}", auth=BOB)).status == 404


async def test_a_changed_password_file_is_read_again(htpasswd: str) -> None:
    async with registry(**basic(htpasswd)) as lab:
        assert (await lab.ask("GET", "/v2/", auth=BOB)).status == 200
        carol = bcrypt.hashpw(b"x", bcrypt.gensalt(4)).decode()
        await asyncio.to_thread(Path(htpasswd).write_text, f"carol:{carol}\n")
        assert (await lab.ask("GET", "/v2/", auth=BOB)).status == 401
        assert (await lab.ask("GET", "/v2/", auth=Who("carol", "x"))).status == 200


# -- tokens -----------------------------------------------------------------------------------------------


def tokens(htpasswd: str, **more: Any) -> dict[str, Any]:
    return {"auth": {"mode": "token", "htpasswd": htpasswd, **more}, "access": RULES}


async def token(lab: Lab, scope: str, who: Who | None = None, **more: Any) -> Any:
    query = "&".join(f"scope={text}" for text in scope.split())
    return (await lab.ask("GET", f"/token?service=wherry-registry&{query}", auth=who, **more)).json


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


@pytest.mark.slow
async def test_the_challenge_says_where_tokens_are_and_which_is_needed(htpasswd: str) -> None:
    async with registry(**tokens(htpasswd)) as lab:
        answer = await lab.ask("GET", "/v2/team/app/tags/list")
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"] == (
            f'Bearer realm="{lab.url}/token",service="wherry-registry",scope="repository:team/app:pull"'
        )
        pushed = await lab.ask("POST", "/v2/team/app/blobs/uploads/")
        assert 'scope="repository:team/app:pull,push"' in pushed.headers["WWW-Authenticate"]
        assert "scope" not in (await lab.ask("GET", "/v2/")).headers["WWW-Authenticate"]


@pytest.mark.slow
async def test_a_token_allows_what_was_asked_for_as_far_as_the_rules_do(htpasswd: str) -> None:
    async with registry(**tokens(htpasswd)) as lab:
        given = await token(lab, "repository:team/app:pull,push", ALICE)
        assert (await lab.push_blob("team/app", b"data", headers=bearer(given["token"]))).status == 201
        assert (await lab.push_blob("team/other", b"data", headers=bearer(given["token"]))).status == 401
        less = await token(lab, "repository:team/app:pull,push", BOB)
        path = f"/v2/team/app/blobs/{digest(b'data')}"
        assert (await lab.ask("GET", path, headers=bearer(less["access_token"]))).status == 200
        assert (await lab.push_blob("team/app", b"x", headers=bearer(less["token"]))).status == 401
        nothing = await token(lab, "repository:team/app:pull")
        assert (await lab.ask("GET", path, headers=bearer(nothing["token"]))).status == 401
        assert (await lab.ask("GET", "/v2/", headers=bearer(nothing["token"]))).status == 200
        assert (await lab.ask("GET", "/token", auth=Who("alice", "no"))).status == 401


@pytest.mark.slow
async def test_who_has_a_token_that_does_not_suffice_is_denied_and_told_which_to_fetch(htpasswd: str) -> None:
    async with registry(**tokens(htpasswd)) as lab:
        bob = await token(lab, "repository:team/app:pull", BOB)
        refused = await lab.push_blob("team/app", b"x", headers=bearer(bob["token"]))
        assert (refused.status, refused.code) == (401, "DENIED")
        told = refused.headers["WWW-Authenticate"]
        assert 'scope="repository:team/app:pull,push"' in told
        assert 'error="insufficient_scope"' in told  # what Docker's clients make "denied" of
        nobody = await lab.ask("GET", "/v2/team/app/tags/list")
        assert (nobody.status, nobody.code) == (401, "UNAUTHORIZED")
        assert "error=" not in nobody.headers["WWW-Authenticate"]


@pytest.mark.slow
async def test_a_refresh_token_stands_for_the_password(htpasswd: str) -> None:
    async with registry(**tokens(htpasswd)) as lab:
        first = await token(lab, "repository:team/app:pull", ALICE)
        assert "refresh_token" not in first
        kept = (await lab.ask("GET", "/token?service=wherry-registry&offline_token=true", auth=ALICE)).json
        form = {"grant_type": "refresh_token", "service": "wherry-registry", "refresh_token": kept["refresh_token"]}
        answer = await lab.ask("POST", "/token", data=form | {"scope": "repository:team/app:pull,push"})
        assert (await lab.push_blob("team/app", b"x", headers=bearer(answer.json["access_token"]))).status == 201
        assert (await lab.ask("POST", "/token", data=form | {"refresh_token": first["token"]})).status == 401
        assert (await lab.ask("GET", "/v2/", headers=bearer(kept["refresh_token"]))).status == 401
        with_password = {"grant_type": "password", "username": "alice", "password": ALICE.password}
        assert (await lab.ask("POST", "/token", data=with_password)).status == 200
        assert (await lab.ask("POST", "/token", data={"grant_type": "magic"})).status == 400
        assert (await lab.ask("PUT", "/token")).status == 405


@pytest.mark.slow
async def test_tokens_that_are_not_good_are_as_good_as_none(htpasswd: str) -> None:
    access = [{"type": "repository", "name": "team/app", "actions": ["pull"]}]
    claims = {"iss": "wherry-registry", "aud": "wherry-registry", "sub": "", "access": access}
    later, before = int(time.time()) + 300, int(time.time()) - 300
    async with registry(**tokens(htpasswd)) as lab:
        secret = await lab.assembly.registry.catalog.storage.read("keys/token")
        good = jwt.encode(claims | {"exp": later}, secret, algorithm="HS256")
        assert (await lab.ask("GET", "/v2/", headers=bearer(good))).status == 200
        for bad in (
            jwt.encode(claims | {"exp": before}, secret, algorithm="HS256"),
            jwt.encode(claims, secret, algorithm="HS256"),
            jwt.encode(claims | {"exp": later, "sub": "eve"}, secret, algorithm="HS256"),
            jwt.encode(claims | {"exp": later, "sub": "alice"}, secret, algorithm="HS256"),
            jwt.encode(claims | {"exp": later, "aud": "other"}, secret, algorithm="HS256"),
            jwt.encode(claims | {"exp": later, "iss": "other"}, secret, algorithm="HS256"),
            jwt.encode(claims | {"exp": later}, b"another secret of thirty-two bytes!", algorithm="HS256"),
            jwt.encode(claims | {"exp": later}, None, algorithm="none"),
            good[:-4],
            "x.y.z",
            "",
        ):
            assert (await lab.ask("GET", "/v2/", headers=bearer(bad))).status == 401, bad


async def test_tokens_of_another_issuer_are_taken_by_its_key(htpasswd: str, tmp_path: Path) -> None:
    needs.check("openssl")
    key, public = tmp_path / "key.pem", tmp_path / "public.pem"
    for command in (
        ["openssl", "ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", str(key)],
        ["openssl", "ec", "-in", str(key), "-pubout", "-out", str(public)],
    ):
        await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
    auth = {"realm": "https://example.com/token", "issuers": [{"name": "them", "key": str(public)}]}
    access = [{"type": "repository", "name": "a", "actions": ["pull", "push"]}, "nonsense", {"type": 1}]
    claims = {"iss": "them", "aud": "wherry-registry", "exp": int(time.time()) + 60, "sub": "x", "access": access}
    async with registry(**tokens(htpasswd, **auth)) as lab:
        theirs = jwt.encode(claims, key.read_text(), algorithm="ES256")
        assert (await lab.push_blob("a", b"x", headers=bearer(theirs))).status == 201
        assert (await lab.push_blob("b", b"x", headers=bearer(theirs))).status == 401
        # signed with their public key as if it were a shared secret
        forged = jwt.encode(claims, b"x" * 64, algorithm="HS256")
        assert (await lab.push_blob("a", b"x", headers=bearer(forged))).status == 401
        assert 'realm="https://example.com/token"' in (await lab.ask("GET", "/v2/")).headers["WWW-Authenticate"]
        assert (await lab.ask("GET", "/token")).status == 404


def test_scopes_are_read_as_the_specification_has_them() -> None:
    found = scopes(
        "repository:a/b:pull,push repository:host:5000/c:pull nonsense registry:catalog:* repository(plugin):d:pull"
    )
    assert [(want.type, want.name, sorted(want.actions)) for want in found] == [
        ("repository", "a/b", ["pull", "push"]),
        ("repository", "host:5000/c", ["pull"]),
        ("registry", "catalog", ["*"]),
        ("repository", "d", ["pull"]),
    ]


# -- around it ------------------------------------------------------------------------------------------


async def test_a_repository_holds_no_more_than_its_quota() -> None:
    async with registry(quota=[{"repositories": "small/*", "size": "1K"}]) as lab:
        assert (await lab.push_blob("small/a", b"x" * 700)).status == 201
        answer = await lab.push_blob("small/a", b"y" * 700)
        assert (answer.status, answer.code) == (403, "DENIED")
        assert answer.json["errors"][0]["detail"] == {"limit": 1024, "used": 700, "requested": 700}
        assert (await lab.push_blob("small/b", b"y" * 700)).status == 201
        assert (await lab.push_blob("large", b"y" * 7000)).status == 201
        where = (await lab.ask("POST", "/v2/small/a/blobs/uploads/")).headers["Location"]
        assert (await lab.ask("PATCH", where, data=b"z" * 400)).status == 403
        mounted = await lab.ask("POST", f"/v2/small/a/blobs/uploads/?mount={digest(b'y' * 7000)}&from=large")
        assert mounted.status == 403


async def test_an_upload_has_the_limit_that_is_set() -> None:
    async with registry(limits={"upload": "1K"}) as lab:
        answer = await lab.push_blob("a", b"x" * 2000)
        assert (answer.status, answer.code) == (413, "SIZE_INVALID")
        assert (await lab.push_blob("a", b"x" * 1024)).status == 201


async def test_a_read_only_registry_takes_nothing(tmp_path: Path) -> None:
    async with registry(tmp_path) as lab:
        image = await lab.push_image("team/app", "v1")
    async with registry(tmp_path, read_only=True) as lab:
        assert (await lab.ask("GET", "/v2/team/app/manifests/v1")).body == image
        for answer in (await lab.push_blob("team/app", b"x"), await lab.ask("DELETE", "/v2/team/app/manifests/v1")):
            assert (answer.status, answer.code, answer.headers["Allow"]) == (405, "UNSUPPORTED", "GET, HEAD")


async def test_deleting_can_be_switched_off() -> None:
    async with registry(delete=False) as lab:
        await lab.push_image("team/app", "v1")
        assert (await lab.ask("DELETE", "/v2/team/app/manifests/v1")).status == 405


class Hook:
    """Takes events on loopback; the first answers can be failures."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.events: list[dict[str, Any]] = []
        self.types: set[str] = set()
        self.changed = asyncio.Event()

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        if self.failures:
            self.failures -= 1
            return web.Response(status=503)
        self.types.add(request.headers["Content-Type"])
        self.events += json.loads(await request.content.read())["events"]
        self.changed.set()
        return web.Response()

    async def wait_for(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.events) < count:
                self.changed.clear()
                await self.changed.wait()


async def test_webhooks_are_told_even_if_not_at_the_first_try() -> None:
    hook = Hook(failures=1)
    http = web.Server(hook, access_log=None)
    server = await asyncio.get_running_loop().create_server(http, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    try:
        async with registry(webhooks=[{"url": url, "actions": ["push", "delete"]}]) as lab:
            image = await lab.push_image("team/app", "v1")
            await lab.ask("GET", "/v2/team/app/manifests/v1")
            await lab.ask("DELETE", f"/v2/team/app/manifests/{digest(image)}")
            await hook.wait_for(4)
    finally:
        server.close()
        await http.shutdown(1)
    assert hook.types == {"application/vnd.docker.distribution.events.v1+json"}
    assert [event["action"] for event in hook.events] == ["push", "push", "push", "delete"]
    target = hook.events[2]["target"]
    assert (target["repository"], target["tag"], target["digest"]) == ("team/app", "v1", digest(image))
    assert target["url"].endswith(f"/v2/team/app/manifests/{digest(image)}")
    assert hook.events[2]["request"]["method"] == "PUT"


async def test_who_does_not_listen_costs_a_bounded_queue() -> None:
    async with registry(webhooks=[{"url": "http://127.0.0.1:9/", "queue": 2, "retries": 0}]) as lab:
        for number in range(20):
            await lab.push_blob("a", b"%d" % number)
        async with asyncio.timeout(20):
            while lab.assembly.registry.events.dropped < 15:  # noqa: ASYNC110 - it is a number, and tells nobody
                await asyncio.sleep(0.01)


async def test_the_figures_are_in_prometheus_format() -> None:
    async with registry() as lab:
        await lab.push_image("team/app", "v1")
        await lab.ask("GET", "/v2/team/app/manifests/none")
        text = (await lab.ask("GET", "/metrics")).body.decode()
    assert 'wherry_registry_requests_total{kind="uploads",method="POST",status="2xx"} 2' in text
    assert 'wherry_registry_requests_total{kind="manifests",method="GET",status="4xx"} 1' in text
    assert 'wherry_registry_request_seconds_bucket{kind="uploads",le="+Inf"} 2' in text
    for line in text.splitlines():
        assert line.startswith("# ") or len(line.rsplit(" ", 1)) == 2


@pytest.mark.slow
async def test_the_figures_are_not_for_everybody(htpasswd: str) -> None:
    for told in (basic(htpasswd), tokens(htpasswd)):
        async with registry(**told) as lab:
            assert (await lab.ask("GET", "/metrics")).status == 401
            assert (await lab.ask("GET", "/metrics", auth=ALICE)).status == 200


async def test_every_request_is_in_the_access_log_on_a_line_of_its_own(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    async with registry(log={"access": str(log)}) as lab:
        await lab.push_blob("team/app", b"data")
        await lab.ask("GET", "/v2/x%0Ay/tags/list", headers={"User-Agent": 'a"b'})
    lines = log.read_text().splitlines()
    assert len(lines) == 2
    assert '"POST /v2/team/app/blobs/uploads/' in lines[0]
    assert '" 201 0 "' in lines[0]
    assert '"a\\x22b"' in lines[1]
    async with registry(log={"access": str(log), "format": "json"}) as lab:
        await lab.ask("GET", "/v2/", headers={"User-Agent": "a\u202e"})
    assert '"path":"/v2/"' in log.read_text().splitlines()[-1]
    assert r'"agent":"a\u202e"' in log.read_text()


@pytest.mark.parametrize(
    "told",
    [
        {"colour": "red"},
        {"auth": {"mode": "magic"}},
        {"gc": {"interval": "soon"}},
        {"limits": {"manifest": "big"}},
        {"storage": {"type": "s3"}},
        {"workers": 0},
        {"access": [{"user": "x", "actions": ["fly"]}]},
        {"workers": 2, "storage": {"type": "memory"}},
    ],
)
def test_settings_that_are_not_understood_are_refused(told: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        load(None, {"root": "x", **told})


def test_flags_overrule_the_file(tmp_path: Path) -> None:
    path = tmp_path / "registry.toml"
    path.write_text('addr = "127.0.0.1:1"\nroot = "/a"\n[log]\nlevel = "debug"\naccess = "-"\n')
    settings = load(path, {"addr": "127.0.0.1:2", "log": {"level": "error"}})
    assert (settings.addr, settings.root, settings.log.level, settings.log.access) == (
        "127.0.0.1:2",
        "/a",
        "error",
        "-",
    )
    path.write_text("addr = ")
    with pytest.raises(InvalidInput, match="no TOML"):
        load(path, {})


def test_certificates_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        tls_context(Tls(certificate=str(tmp_path / "no"), key=str(tmp_path / "no")))
