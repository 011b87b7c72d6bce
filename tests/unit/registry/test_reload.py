"""SIGHUP to a registry: what holds from then on, and what a mistake in the file does. Any user can run these."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import bcrypt
import pytest

from support import needs
from support.authority import Authority
from support.registry_harness import Who, digest
from support.registry_process import Registry, running

ALICE = Who("alice", "a")


def settings(directory: Path, more: str = "") -> str:
    """Write a configuration file. :returns: its name."""
    path = directory / "registry.toml"
    staged = path.with_suffix(".new")
    staged.write_text(f'root = "{directory}/data"\n{more}')
    staged.replace(path)
    return str(path)


async def status(server: Registry, method: str, path: str, who: Who | None = None, data: bytes = b"") -> int:
    """What the answer to one request over a connection of its own is."""
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, server.url + path, headers=who.header() if who else {}, data=data) as response,
    ):
        return response.status


async def become(server: Registry, asked: Callable[[], Awaitable[bool]]) -> None:
    """Send SIGHUP, and wait until it has its effect on all workers: that is, ten times running."""
    os.kill(server.process.pid, signal.SIGHUP)
    right = 0
    async with asyncio.timeout(20):
        while right < 10:
            right = right + 1 if await asked() else 0


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
async def test_changed_settings_hold_from_the_next_request_on(tmp_path: Path, workers: int) -> None:
    users = tmp_path / "users"
    users.write_text(f"alice:{bcrypt.hashpw(b'a', bcrypt.gensalt(4)).decode()}\n")
    common = f"workers = {workers}\n"
    auth = f'[auth]\nmode = "basic"\nhtpasswd = "{users}"\n'
    with running("--config", settings(tmp_path, common)) as server:
        data = b"x" * 100
        url = f"/v2/team/app/blobs/uploads/?digest={digest(data)}"
        assert await status(server, "POST", url, data=data) == 201
        settings(tmp_path, common + auth)

        async def closed() -> bool:
            return await status(server, "GET", "/v2/") == 401

        await become(server, closed)
        assert await status(server, "GET", "/v2/", ALICE) == 200
        settings(tmp_path, f'read_only = true\n{common}{auth}[[access]]\nuser = "alice"\nactions = ["pull"]\n')

        async def readable() -> bool:
            return await status(server, "POST", "/v2/team/app/blobs/uploads/", ALICE) == 405

        await become(server, readable)
        settings(tmp_path, f'{common}{auth}[[quota]]\nrepositories = "team/*"\nsize = "150"\n')

        async def limited() -> bool:
            more = b"y" * 100
            asked = f"/v2/team/app/blobs/uploads/?digest={digest(more)}"
            return await status(server, "POST", asked, ALICE, more) == 403

        await become(server, limited)
        assert server.end() == 0


@pytest.mark.slow
async def test_settings_that_cannot_be_used_leave_those_from_before(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    place = f'[log]\naccess = "{log}"\n'
    with running("--config", settings(tmp_path, f"read_only = true\n{place}")) as server:
        assert await status(server, "GET", "/v2/") == 200
        settings(tmp_path, f'colour = "red"\n{place}')
        log.rename(tmp_path / "old.log")

        async def reopened() -> bool:
            return await status(server, "GET", "/v2/") == 200 and log.exists()

        await become(server, reopened)
        assert await status(server, "POST", "/v2/team/app/blobs/uploads/") == 405
        settings(tmp_path, place)

        async def writable() -> bool:
            return await status(server, "POST", "/v2/team/app/blobs/uploads/") == 202

        await become(server, writable)
        server.process.terminate()
        assert server.process.stderr
        said = (await asyncio.to_thread(server.process.stderr.read)).decode()
        assert server.end() == 0
        assert "invalid settings, keeping the previous ones: invalid registry settings" in said
        assert "colour" in said


@pytest.mark.slow
@needs.need("openssl")
async def test_a_new_certificate_is_shown_to_new_connections(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    (first, first_key), (second, second_key) = authority.issue("first"), authority.issue("second")
    certificate, key = tmp_path / "server.crt", tmp_path / "server.key"
    shutil.copy(first, certificate)
    shutil.copy(first_key, key)
    told = f'[tls]\ncertificate = "{certificate}"\nkey = "{key}"\n'
    context = ssl.create_default_context(cafile=str(authority.certificate))
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # the test's authority says no more about itself than it must
    with running("--config", settings(tmp_path, told)) as server:
        host, _, port = server.address.rpartition(":")

        async def name() -> str:
            _, writer = await asyncio.open_connection(host, int(port), ssl=context)
            shown = writer.get_extra_info("peercert")["subject"][0][0][1]
            writer.close()
            await writer.wait_closed()
            return str(shown)

        async def shows(wanted: str) -> bool:
            return await name() == wanted

        assert await name() == "first"
        shutil.copy(second, certificate)  # its key is not there yet: what there was stays whole
        await become(server, lambda: shows("first"))
        shutil.copy(second_key, key)
        await become(server, lambda: shows("second"))
        assert server.end() == 0


@pytest.mark.slow
def test_who_ends_while_a_worker_is_replaced_ends_all(tmp_path: Path) -> None:
    with running("--config", settings(tmp_path, "workers = 2\n")) as server:
        pid = server.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children")
        first, second = children.read_text().split()
        os.kill(int(first), signal.SIGKILL)
        while first in children.read_text().split():
            time.sleep(0.01)
        assert server.end() == 0  # the replacement begins a second later
        assert not Path(f"/proc/{second}").exists()
