"""The API over a real engine on a fake keeper and a network without a kernel: every operation, as any user.

Images are real ones in a store of the test's own; processes are ordinary ones (`support.fake_keeper`).
"""

from __future__ import annotations

import asyncio
import os
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from support.fake_keeper import FakeConnection, FakeKeeper
from support.fake_network import FakeController
from support.unixhttp import Answer, request
from wherry.api.app import make_api
from wherry.engine import engine as composition
from wherry.engine.engine import Engine
from wherry.engine.settings import Settings
from wherry.images.store import ImageStore
from wherry.network.model import NetworkOptions

__all__ = ["ApiHarness", "small_archive"]


def small_archive(*names: str) -> bytes:
    """A tar archive with a few files of our own."""
    buffer = BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size, entry.uid, entry.gid = len(name), os.getuid(), os.getgid()
            tar.addfile(entry, BytesIO(name.encode()))
    return buffer.getvalue()


class ApiHarness:
    """A served engine; `ask` is a client's request."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.keeper = FakeKeeper()
        self.shut_down: list[bool] = []

    @asynccontextmanager
    async def serving(self, patch: pytest.MonkeyPatch) -> AsyncIterator[ApiHarness]:
        """Serve until the block ends."""
        (self.root / "data").mkdir()
        networks = NetworkOptions(bip="10.93.0.1/24")
        settings = Settings(
            data_root=self.root / "data", exec_root=self.root / "run", cgroup_parent="/wherry-no-such-group",
            networks=networks,
        )  # fmt: skip
        patch.setattr(composition, "KeeperConnection", lambda exec_root: FakeConnection(self.keeper, exec_root))
        patch.setattr(composition, "Controller", FakeController)
        patch.setattr(ImageStore, "_renew_host", lambda store: None)  # the image of the host has root's files
        engine = await Engine.open(settings)
        api = make_api(engine, self._shut_down)
        server = await asyncio.get_running_loop().create_unix_server(api.connection, self.socket)
        try:
            yield self
        finally:
            server.close()
            await api.close()
            await engine.close()
            self.keeper.close()

    @property
    def socket(self) -> str:
        """Where the API is served."""
        return str(self.root / "api.sock")

    async def ask(self, method: str, target: str, body: Any = None, **query: Any) -> Answer:
        """One request and its whole answer."""
        return await asyncio.to_thread(request, self.socket, method, target, body, **query)

    async def _shut_down(self, kill: bool) -> list[str]:
        self.shut_down.append(kill)
        return []
