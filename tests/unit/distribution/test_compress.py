"""A layer is compressed into a temporary file, of which nothing is left."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from wherry.distribution.transfer.compress import Packing
from wherry.oci.digest import Digest


async def test_who_is_cancelled_while_the_file_is_removed_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when two layers of one push fail at the same moment."""
    blob, target = tmp_path / "blob", tmp_path / "packed"
    blob.write_bytes(b"x")
    begun, go_on, pack = threading.Event(), threading.Event(), Packing._pack

    def slowly(packing: Packing) -> object:
        begun.set()
        go_on.wait()
        return pack(packing)

    monkeypatch.setattr(Packing, "_pack", slowly)
    with ThreadPoolExecutor(1) as pool:
        packing = Packing(blob, Digest.from_bytes(b"x"), target, pool)
        descriptor = packing._fd
        closing = asyncio.create_task(packing.close())
        await asyncio.to_thread(begun.wait)
        for _ in range(3):
            closing.cancel()
            await asyncio.sleep(0)
        go_on.set()
        await asyncio.wait([closing])
    assert not target.exists()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
