"""How registries are reached: TLS, certificates of both sides, mirrors, proxies; and a disk that is full."""

from __future__ import annotations

import errno
import os
import random
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from support import needs
from support.archives import directory, member, tar
from support.authority import Authority
from support.faulty_registry import Liar, serving
from wherry.distribution.client.credentials import ANONYMOUS, Credentials
from wherry.distribution.client.settings import RegistrySettings, Timing
from wherry.distribution.transfer.transfers import Transfers
from wherry.docker.reference import Reference
from wherry.errors import Forbidden, InvalidInput, OutOfSpace, Unauthenticated, WherryError
from wherry.images.store import ImageStore
from wherry.oci.platform import Platform

BASE = tar([directory("bin"), member("bin/sh", b"#!" * 500, mode=0o755)])
BIG = tar([member("noise", random.Random(4).randbytes(3 << 20))])
HASTY = Timing(connect=2, silence=1.0, document=2, pause=0.01, longest_pause=0.5)
AMD64 = Platform("linux", "amd64")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ImageStore]:
    opened = ImageStore(tmp_path / "data")
    yield opened
    opened.close()


async def pull(store: ImageStore, name: str, **options: Any) -> list[str]:
    made = Transfers(store, RegistrySettings(timing=HASTY, max_attempts=2, **options))
    try:
        async with aclosing(made.pull(Reference.parse(name), AMD64, ANONYMOUS)) as steps:
            return [step["status"] async for step in steps]
    finally:
        await made.close()


@asynccontextmanager
async def with_tls(authority: Authority, *, of_clients: bool = False) -> AsyncIterator[Liar]:
    """A registry behind TLS, which may want to see who comes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("server"))
    if of_clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority.certificate)
    liar = Liar()
    liar.image([BASE])
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", liar.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    liar.port = runner.addresses[0][1]
    try:
        yield liar
    finally:
        await runner.cleanup()


@needs.need("openssl")
async def test_any_certificate_does_on_this_machine_unless_an_authority_is_named(
    store: ImageStore, tmp_path: Path
) -> None:
    async with with_tls(Authority(tmp_path / "ca")) as liar:
        await pull(store, f"{liar.host}/app:1", certificates=())
        place = tmp_path / "certs.d" / liar.host
        place.mkdir(parents=True)
        (place / "other.crt").write_bytes(Authority(tmp_path / "other").certificate.read_bytes())
        with pytest.raises(WherryError, match="certificate"):
            await pull(store, f"{liar.host}/app:1", certificates=(tmp_path / "certs.d",))
        (place / "ca.crt").write_bytes((tmp_path / "ca/ca.crt").read_bytes())
        await pull(store, f"{liar.host}/app:1", certificates=(tmp_path / "certs.d",))


@needs.need("openssl")
async def test_a_registry_that_wants_our_certificate_gets_it(store: ImageStore, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    async with with_tls(authority, of_clients=True) as liar:
        with pytest.raises(WherryError):
            await pull(store, f"{liar.host}/app:1", certificates=())
        place = tmp_path / "certs.d" / liar.host
        place.mkdir(parents=True)
        certificate, key = authority.issue("client")
        (place / "client.cert").write_bytes(certificate.read_bytes())
        (place / "client.key").write_bytes(key.read_bytes())
        said = await pull(store, f"{liar.host}/app:1", certificates=(tmp_path / "certs.d",))
        assert said[-1].startswith("Status: Downloaded")


async def test_what_one_mirror_lacks_the_next_one_has(store: ImageStore) -> None:
    async with serving() as empty, serving() as full:
        full.image([BASE])
        mirrors = (f"http://{empty.host}", f"http://{full.host}")
        said = await pull(store, "library/app:1", mirrors=mirrors, certificates=())
        assert said[-1] == "Status: Downloaded newer image for app:1"
        assert empty.count("/manifests/1") == 1
        assert empty.count("/blobs/") == 0


async def test_a_layer_that_the_mirror_lost_comes_from_the_next_one(store: ImageStore) -> None:
    async with serving() as half, serving() as full:
        described = half.image([BASE])
        full.image([BASE])
        blobs = dict(half.layout.blobs)
        layer = next(name for name, data in blobs.items() if data[:2] == b"\x1f\x8b")
        del half.layout.blobs[layer]
        await pull(store, "library/app:1", mirrors=(f"http://{half.host}", f"http://{full.host}"), certificates=())
        assert store.resolve("app:1").manifest_digest == described["digest"]
        assert full.count(f"/blobs/{layer}") == 1


async def test_a_proxy_of_the_environment_is_used_but_not_for_this_machine(
    store: ImageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving() as registry, serving() as proxy:
        registry.image([BASE])
        proxy.image([BASE])
        monkeypatch.setenv("http_proxy", f"http://{proxy.host}")
        await pull(store, f"{registry.host}/app:1", certificates=())
        assert proxy.asked == []
        said = await pull(store, "far.example.com:81/app:1", insecure=("far.example.com:81",), certificates=())
        assert said[-1] == "Status: Downloaded newer image for far.example.com:81/app:1"
        assert proxy.count("/manifests/1") == 1


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> str:
    """An address of this machine that does not look like one; the name ``sneaky.example.com`` leads to loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing, but chooses an address
        except OSError:
            pytest.skip("this machine has no address but loopback")
        address = str(probe.getsockname()[0])
    known = socket.getaddrinfo

    def getaddrinfo(host: Any, *more: Any, **options: Any) -> Any:
        return known("127.0.0.1" if host == "sneaky.example.com" else host, *more, **options)

    monkeypatch.setattr("socket.getaddrinfo", getaddrinfo)
    return address


@pytest.mark.parametrize("place", ["sneaky.example.com", "127.0.0.1", "localhost"])
async def test_no_registry_elsewhere_leads_us_to_this_machine_by_any_name(
    store: ImageStore, far: str, place: str
) -> None:
    async with serving(address=far) as registry, serving(Liar(layout=registry.layout)) as inner:
        registry.image([BASE])

        async def lie(request: web.Request, _: Liar) -> web.StreamResponse | None:
            if "/blobs/" in request.path:
                raise web.HTTPTemporaryRedirect(f"http://{place}:{inner.port}{request.path}")
            return None

        registry.lie = lie
        with pytest.raises(InvalidInput, match=r"the registry (redirects|leads) to this machine itself, to"):
            await pull(store, f"{registry.host}/app:1", insecure=(registry.host,), certificates=())
        assert inner.asked == []


async def test_no_registry_elsewhere_has_tokens_issued_by_this_machine_by_any_name(store: ImageStore, far: str) -> None:
    async with serving(address=far) as registry, serving() as inner:
        registry.image([BASE])
        said = f'Bearer realm="http://sneaky.example.com:{inner.port}/token"'

        async def lie(request: web.Request, _: Liar) -> web.StreamResponse | None:
            return web.Response(status=401, headers={"WWW-Authenticate": said})

        registry.lie = lie
        with pytest.raises(WherryError, match="the registry leads to this machine itself"):
            await pull(store, f"{registry.host}/app:1", insecure=(registry.host,), certificates=())
        assert inner.asked == []


async def test_a_registry_that_a_name_of_this_machine_means_may_lead_to_this_machine(
    store: ImageStore, far: str
) -> None:
    async with serving() as registry, serving(Liar(layout=registry.layout)) as store_of_blobs:
        registry.image([BASE])

        async def lie(request: web.Request, _: Liar) -> web.StreamResponse | None:
            if "/blobs/" in request.path:
                raise web.HTTPTemporaryRedirect(f"http://sneaky.example.com:{store_of_blobs.port}{request.path}")
            return None

        registry.lie = lie
        name = f"sneaky.example.com:{registry.port}"
        await pull(store, f"{name}/app:1", insecure=(name,), certificates=())
        assert store_of_blobs.count("/blobs/") == 2


async def test_a_full_disk_fails_the_pull_and_leaves_nothing_of_it(
    store: ImageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving() as registry:
        registry.image([BIG])
        write = os.write

        def full(fd: int, data: Any) -> int:
            if "/partial/" in os.readlink(f"/proc/self/fd/{fd}"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write(fd, data)

        monkeypatch.setattr("wherry.content.durable.os.write", full)
        with pytest.raises(OutOfSpace, match="no space left on device"):
            await pull(store, f"{registry.host}/app:1", certificates=())
        monkeypatch.undo()
        assert list(store.partials.walk()) == []
        assert os.listdir(store.content.root.parent / "tmp") == []
        await pull(store, f"{registry.host}/app:1", certificates=())


async def test_what_refers_to_an_image_is_listed_on_demand(store: ImageStore) -> None:
    async with serving() as registry:
        described = registry.image([BASE])
        signature = {"mediaType": "application/vnd.example.signature", "digest": "sha256:" + "1" * 64, "size": 3}
        index = registry.layout.nested([signature])

        async def lie(request: web.Request, _: Liar) -> web.StreamResponse | None:
            if request.path.endswith(f"/referrers/{described['digest']}"):
                return web.Response(body=registry.layout.blobs[index["digest"]])
            return None

        registry.lie = lie
        made = Transfers(store, RegistrySettings(timing=HASTY, certificates=()))
        name = Reference.parse(f"{registry.host}/app:1")
        found = await made.manifest(name, ANONYMOUS, AMD64, referrers=True)
        assert found.referrers == [signature]
        assert registry.count("/referrers/") == 1
        registry.lie = None
        assert (await made.manifest(name, ANONYMOUS, AMD64, referrers=True)).referrers == []
        registry.tags[described["digest"].replace(":", "-")] = index["digest"]  # the fallback of older registries
        found = await made.manifest(name, ANONYMOUS, AMD64, referrers=True)
        await made.close()
        assert found.referrers == [signature]
        assert found.config["architecture"] == "amd64"


async def test_a_registry_without_search_and_catalogue_says_so(store: ImageStore) -> None:
    async with serving() as registry:
        made = Transfers(store, RegistrySettings(timing=HASTY, certificates=()))
        with pytest.raises(WherryError, match="cannot be searched: it has neither a search nor a catalogue"):
            await made.search(f"{registry.host}/app", 25, {}, ANONYMOUS)

        async def lie(request: web.Request, _: Liar) -> web.StreamResponse | None:
            if request.path == "/v2/_catalog":
                return web.json_response({"errors": [{"code": "DENIED", "message": "not you"}]}, status=403)
            if request.path != "/v1/search" or is_hidden:
                return None
            hits = [{"name": "app", "description": None, "star_count": 3, "is_official": True}]
            return web.json_response({"results": hits})

        registry.lie, is_hidden = lie, True
        with pytest.raises(Forbidden, match="does not show its catalogue to you: denied: not you"):
            await made.search(f"{registry.host}/app", 25, {}, ANONYMOUS)
        is_hidden = False
        [hit] = await made.search(f"{registry.host}/app", 25, {"stars": ["2"]}, ANONYMOUS)
        await made.close()
        assert (hit.name, hit.description, hit.star_count) == ("app", "", 3)


async def test_a_wrong_password_is_called_so_where_the_registry_asks_for_what_it_was_given(store: ImageStore) -> None:
    async with serving() as registry:

        async def lie(request: web.Request, _: Liar) -> web.StreamResponse | None:
            body = {"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}
            return web.json_response(body, status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})

        registry.lie = lie
        made = Transfers(store, RegistrySettings(timing=HASTY, certificates=()))
        words = f"login attempt to http://{registry.host}/v2/ failed with status: 401 Unauthorized"
        with pytest.raises(Unauthenticated, match=words):
            await made.login(Credentials("me", "wrong", server=registry.host))
        await made.close()
