"""Directories with cache at the client's: what a daemon may store there, and what it may not."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from wherry.cli.build.caches import CacheDirectory
from wherry.cli.build.calls import Calls
from wherry.cli.exit import Exit
from wherry.errors import CorruptData, Unavailable

DIGEST = f"sha256:{hashlib.sha256(b'blob').hexdigest()}"


def target(place: Path, **fields: str) -> CacheDirectory:
    return CacheDirectory({"type": "local", "dest": str(place), **fields}, is_target=True)


def test_a_blob_is_stored_and_named(tmp_path: Path) -> None:
    cache = target(tmp_path / "new", tag="mine", mode="max")
    assert (cache.attributes, cache.size(DIGEST)) == ({"mode": "max"}, None)
    cache.store(DIGEST, iter([b"bl", b"ob"]))
    assert (cache.size(DIGEST), b"".join(cache.blob(DIGEST))) == (4, b"blob")
    for _ in range(2):
        cache.name({"digest": DIGEST, "size": 4})
    target(tmp_path / "new").name({"digest": DIGEST, "size": 4})
    listed = json.loads((tmp_path / "new/index.json").read_text())["manifests"]
    assert [one["annotations"]["org.opencontainers.image.ref.name"] for one in listed] == ["mine", "latest"]
    source = CacheDirectory({"src": str(tmp_path / "new")}, is_target=False)
    source.find()
    assert source.attributes == {"digest": DIGEST}


def test_another_blob_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    cache = target(tmp_path)
    with pytest.raises(CorruptData):
        cache.store(DIGEST, iter([b"another"]))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("digest", ["sha256:../../x", "../x", f"{DIGEST}/..", "", "sha256:"])
def test_a_digest_is_no_path(tmp_path: Path, digest: str) -> None:
    for work in (lambda: target(tmp_path).store(digest, iter([b""])), lambda: target(tmp_path).size(digest)):
        with pytest.raises(Exit):
            work()
    assert list(tmp_path.iterdir()) == []


def test_a_daemon_stores_nothing_where_cache_is_only_read(tmp_path: Path) -> None:
    source = CacheDirectory({"src": str(tmp_path)}, is_target=False)
    calls = Calls(lambda: pytest.fail("it is not answered"), (), {}, {}, {"x": source})
    for name in ("x", "y"):
        with pytest.raises(Unavailable):
            calls._cache({"store": name}, stores=True)
