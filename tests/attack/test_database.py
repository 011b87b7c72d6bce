"""A database that was damaged, replaced, or written by another version: nothing that people have goes for it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path

import pytest

from support.busybox import busybox_daemon
from support.daemons import Daemon
from support.needs import need
from wherry.database.schema import MIGRATIONS

pytestmark = [need("root", "busybox", "overlay")]

RUN = ("run", "-d", "--network", "none")
TABLES = r"SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\'"


@pytest.fixture
def lasting(busybox_archive: bytes) -> Iterator[Daemon]:
    with busybox_daemon(busybox_archive) as daemon:
        yield daemon


def change(daemon: Daemon, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(daemon.data_root / "wherry.db", isolation_level=None)) as connection:
        connection.execute(statement, values)


def stored(daemon: Daemon) -> set[str]:
    """The blobs, the layers, and the containers' directories."""
    root = daemon.data_root
    paths = [*(root / "content/blobs/sha256").iterdir(), *(root / "layers").iterdir(), *(root / "containers").iterdir()]
    return {str(path.relative_to(root)) for path in paths}


def test_a_log_that_was_emptied_costs_no_blob_no_layer_and_no_containers_files(lasting: Daemon) -> None:
    lasting.cli("run", "--name", "made", "--network", "none", "busybox", "touch", "/precious", check=True)
    lasting.cli("commit", "made", "kept", check=True)
    before = stored(lasting)
    lasting.kill9()
    os.truncate(lasting.data_root / "wherry.db-wal", 0)
    (lasting.data_root / "wherry.db-shm").unlink()
    for _ in range(2):
        lasting.start()
        assert "the database has lost changes" in lasting.log_tail()
        assert "a directory is kept whose container the database does not know" in lasting.log_tail()
        lasting.cli("import", "-", "another", input=_archive(), check=True)  # whose layer takes no unknown one's place
        assert stored(lasting) >= before
        lasting.kill9()
    lasting.start()
    done = lasting.cli("system", "fsck", check=False)
    assert stored(lasting) >= before, "who looks changes nothing"
    assert "/data/content/blobs/sha256/" in done.stdout, "what is not known is shown"
    lasting.cli("image", "prune", "--force", check=True)
    assert stored(lasting) >= before
    assert "precious" in " ".join(str(path) for path in (lasting.data_root / "containers").rglob("*")), done.stdout
    lasting.cli("system", "fsck", "--repair")
    assert not any((lasting.data_root / "containers").iterdir())
    lasting.kill9()
    told = lasting.log_tail(1000).count("the database has lost changes")
    lasting.start()
    assert lasting.log_tail(1000).count("the database has lost changes") == told


def _archive() -> bytes:
    content = BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(f"file{time.time_ns()}"))
    return content.getvalue()


def test_a_database_that_is_new_costs_nothing_either(lasting: Daemon) -> None:
    lasting.cli("run", "--name", "made", "--network", "none", "busybox", "touch", "/precious", check=True)
    lasting.cli(*RUN, "--name", "runs", "busybox", "sleep", "1000", check=True)
    pid = lasting.request("GET", "/containers/runs/json").json["State"]["Pid"]
    before = stored(lasting)
    lasting.stop()
    for path in lasting.data_root.glob("wherry.db*"):
        path.unlink()
    lasting.start()
    assert stored(lasting) >= before
    assert Path(f"/proc/{pid}").exists(), "it runs on"
    assert "is left alone whose container is not known" in lasting.log_tail()
    assert "the database has lost changes" in lasting.log_tail()


def test_what_a_crash_leaves_goes_without_being_asked(lasting: Daemon) -> None:
    lasting.kill9()
    (lasting.data_root / "layers" / "99").mkdir()
    blob = lasting.data_root / "content/blobs/sha256" / ("0" * 64)
    blob.touch()
    lasting.start()
    assert not (lasting.data_root / "layers" / "99").exists()
    assert not blob.exists()


def test_a_row_that_is_not_understood_is_kept_with_all_that_is_its(lasting: Daemon) -> None:
    for name in ("strange", "other"):
        lasting.cli(*RUN, "--name", name, "busybox", "sleep", "1000", check=True)
    strange = lasting.request("GET", "/containers/strange/json").json
    lasting.cli("commit", "other", "image", check=True)
    lasting.stop()
    change(lasting, "UPDATE containers SET definition = '{\"id\": 7}' WHERE name = 'strange'")
    change(lasting, "INSERT INTO names (name, image) VALUES ('###', 'sha256:what')")
    change(
        lasting, "INSERT INTO images (id, manifest, added, parts, built_in, removed) VALUES ('x', 'y', 0, 'z', 0, 0)"
    )
    before = stored(lasting)
    lasting.start()
    assert "a container cannot be understood" in lasting.log_tail()
    assert "an image's name cannot be understood" in lasting.log_tail()
    assert "an image cannot be understood" in lasting.log_tail()
    assert [c["Names"] for c in lasting.request("GET", "/containers/json", all=True).json] == [["/other"]]
    assert stored(lasting) == before
    assert Path(f"/proc/{strange['State']['Pid']}").exists(), "it runs on"
    taken = lasting.request("POST", "/containers/create", {"Image": "busybox"}, name="strange")
    assert (taken.status, strange["Id"] in taken.json["message"]) == (409, True)
    lasting.cli("run", "--rm", "--network", "none", "image", "true", check=True)
    lasting.stop()
    with closing(sqlite3.connect(lasting.data_root / "wherry.db")) as connection:
        rows = connection.execute("SELECT name FROM containers").fetchall()
        assert {row[0] for row in rows} == {"strange", "other"}
        assert connection.execute("SELECT count(*) FROM images WHERE id = 'x'").fetchone() == (1,)
    lasting.start()  # to be shut down: what is not understood ends as well


def test_a_database_of_a_newer_version_is_refused_and_left_as_it_is(lasting: Daemon) -> None:
    lasting.stop()
    change(lasting, "PRAGMA user_version = 99")
    done = subprocess.run(
        lasting.command, env=lasting.environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "was written by a newer version" in done.stderr
    change(lasting, f"PRAGMA user_version = {MIGRATIONS[-1].number}")
    lasting.start()


def test_a_column_that_was_added_does_not_keep_containers_from_being_made(lasting: Daemon) -> None:
    lasting.stop()
    with closing(sqlite3.connect(lasting.data_root / "wherry.db")) as connection:
        names = [row[0] for row in connection.execute(TABLES)]
    for name in names:
        change(lasting, f"ALTER TABLE {name} ADD COLUMN of_tomorrow TEXT")
    lasting.start()
    lasting.cli("run", "--name", "made", "busybox", "touch", "/file", check=True)
    lasting.cli("commit", "made", "image", check=True)
    lasting.cli("network", "create", "--ipv6=false", "mine", check=True)
    lasting.cli("rm", "made", check=True)
    lasting.cli("rmi", "image", check=True)
    lasting.cli("network", "rm", "mine", check=True)
