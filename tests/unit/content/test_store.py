"""The content store: durable, verified, an OCI image layout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from wherry.content.store import ContentStore
from wherry.errors import CorruptData, NotFound, TooLarge
from wherry.oci.digest import Digest

DATA = b"a blob" * 1000


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    return ContentStore(tmp_path / "content", tmp_path / "tmp")


def leftovers(store: ContentStore) -> list[str]:
    return os.listdir(store.root.parent / "tmp")


def test_a_blob_comes_back_as_it_went_in(store: ContentStore) -> None:
    digest = store.ingest([DATA[:10], DATA[10:]], digest=Digest.from_bytes(DATA), size=len(DATA))
    assert store.read(digest) == DATA
    assert store.size(digest) == len(DATA)
    assert list(store.walk()) == [(digest, len(DATA))]
    assert not leftovers(store)
    store.delete(digest)
    assert digest not in store
    store.delete(digest)


def test_the_directory_is_an_oci_layout(store: ContentStore) -> None:
    assert json.loads((store.root / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    assert json.loads((store.root / "index.json").read_text())["schemaVersion"] == 2


@pytest.mark.parametrize(
    ("digest", "size"),
    [(Digest.from_bytes(b"other"), None), (None, len(DATA) - 1), (None, len(DATA) + 1)],
    ids=["digest", "too long", "too short"],
)
def test_what_is_not_as_promised_leaves_nothing(store: ContentStore, digest: Digest | None, size: int | None) -> None:
    with pytest.raises(CorruptData):
        store.ingest([DATA], digest=digest, size=size)
    assert not list(store.walk())
    assert not leftovers(store)


def test_a_stream_that_breaks_leaves_nothing(store: ContentStore) -> None:
    def broken() -> object:
        yield DATA
        raise ConnectionError

    with pytest.raises(ConnectionError):
        store.ingest(broken())  # type: ignore[arg-type]
    assert not list(store.walk())
    assert not leftovers(store)


def test_a_missing_a_damaged_and_a_huge_blob_are_told_apart(store: ContentStore) -> None:
    with pytest.raises(NotFound, match="no such blob"):
        store.read(Digest.from_bytes(b"never"))
    digest = store.put(DATA)
    with pytest.raises(TooLarge):
        store.read(digest, limit=10)
    store.path(digest).write_bytes(b"rot")
    with pytest.raises(CorruptData):
        store.read(digest)


DYING = """
import os, sys
from pathlib import Path
from wherry.content.store import ContentStore
store = ContentStore(Path(sys.argv[1]) / "content", Path(sys.argv[1]) / "tmp")
left = int(sys.argv[2])
def dies(name, call):
    def wrapped(*arguments, **keywords):
        global left
        left -= 1
        if left < 0:
            os._exit(7)
        return call(*arguments, **keywords)
    return wrapped
os.open, os.write, os.fsync, os.rename = [dies(n, getattr(os, n)) for n in ("open", "write", "fsync", "rename")]
store.ingest([b"a blob" * 1000])
os._exit(0)
"""


@pytest.mark.slow
def test_dying_at_any_step_leaves_the_blob_whole_or_not_at_all(tmp_path: Path) -> None:
    outcomes = []
    for step in range(20):
        root = tmp_path / str(step)
        root.mkdir()
        command = [sys.executable, "-c", DYING, str(root), str(step)]
        status = subprocess.run(command, check=False, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
        blobs = list(ContentStore(root / "content", root / "tmp").walk())
        assert blobs in ([], [(Digest.from_bytes(DATA), len(DATA))])
        for digest, _ in blobs:
            assert (root / "content" / "blobs" / "sha256" / digest.hex).read_bytes() == DATA
        outcomes.append((status.returncode, len(blobs)))
        if status.returncode == 0:
            break
    assert outcomes[0] == (7, 0)
    assert (7, 1) in outcomes, "no run died after the point of no return"
    assert outcomes[-1] == (0, 1)
