"""A running container's /etc/hosts and /etc/resolv.conf are made anew, and nothing of what stands in them is lost."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wherry.engine.container import etc_files

OLD, NEW = "127.0.0.1\tlocalhost\n172.17.0.2\tweb\n", "127.0.0.1\tlocalhost\n172.17.0.3\tweb\n"


def container(directory: Path) -> Any:
    """A container whose files were just made."""
    (directory / "hosts").write_text(OLD)
    (directory / "resolv.conf").write_text("")
    return SimpleNamespace(id="1", name="web", directory=directory, hosts_written=OLD, etc=asyncio.Lock())


def rewritten(made: Any, hosts: str = NEW) -> str:
    """What stands in its hosts after a change of networks."""
    asyncio.run(etc_files.rewrite(made, lambda: {"hosts": hosts, "resolv.conf": "nameserver 127.0.0.11\n"}))
    return str((made.directory / "hosts").read_text())


@pytest.mark.parametrize("count", [1, 10_000])
def test_what_was_added_stays_however_much_it_is(tmp_path: Path, count: int) -> None:
    made = container(tmp_path)
    added = "".join(f"0.0.0.0 advertiser{number}.example\n" for number in range(count))
    (tmp_path / "hosts").write_text(OLD + added)
    assert rewritten(made) == NEW + added
    assert (tmp_path / "resolv.conf").read_text() == "nameserver 127.0.0.11\n"


def test_what_is_too_much_to_be_read_stays_as_it_is(tmp_path: Path) -> None:
    made = container(tmp_path)
    endless = OLD + "0.0.0.0 x\n" * 200_000
    (tmp_path / "hosts").write_text(endless)
    assert rewritten(made) == endless
    assert made.hosts_written == OLD


def test_names_that_have_gone_are_not_taken_for_added_where_resolv_conf_cannot_be_written(tmp_path: Path) -> None:
    made = container(tmp_path)
    (tmp_path / "resolv.conf").unlink()
    assert rewritten(made) == NEW
    assert rewritten(made, OLD) == OLD
