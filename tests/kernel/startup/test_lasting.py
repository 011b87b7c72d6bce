"""A program that lasts, made of a startup snapshot: nothing that is drawn by lot is drawn twice."""

from __future__ import annotations

import json
import mmap
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support import lasting_program
from support.needs import need
from wherry.errors import Unsupported
from wherry.linux._libc import ARCHITECTURE
from wherry.linux.userfaultfd import map_singly
from wherry.startup.build import Program, build
from wherry.startup.machine_code import LISTINGS

pytestmark = pytest.mark.skipif(
    ARCHITECTURE not in LISTINGS or sys.version_info >= (3, 14), reason="there are no snapshots here"
)
PATH = os.path.abspath(lasting_program.__file__)


def made(place: Path, *before: str) -> Path:
    program = Program(
        interpreter=sys.executable,
        template=lambda base: ("-P", "-X", f"template={base}", PATH, *before),
        ordinary=("-P", PATH),
        attempt=(),
        status=3,
        answer=b'"way": "snapshot"',
        lasts=True,
    )
    build(program, str(place))
    return place


@pytest.fixture(scope="module", params=["imported only", "drawn"])
def snapshot(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot of a template that has used no generator, and of one that has used them all."""
    before = () if request.param == "imported only" else (str(request.param),)
    return made(tmp_path_factory.mktemp("lasting") / "snapshot", *before)


def said(*command: str | Path, **how: Any) -> dict[str, Any]:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False, **how)
    assert done.returncode == 3, done
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["way"] == "snapshot"
    return found


@need("root")
def test_no_number_is_drawn_twice_not_even_by_processes_of_one_number(snapshot: Path) -> None:
    """OpenSSL draws anew when the process's number is another; here all have the same."""
    found = [said("unshare", "--pid", "--fork", snapshot) for _ in range(4)]
    assert {one["pid"] for one in found} == {1}
    lots = [lot for one in found for lot in (one["own"], one["child"], one["thread"][0])]
    for same in [*zip(*lots, strict=True), *zip(*(one["seeded"] for one in found), strict=True)]:
        assert len(set(same)) == len(same)


def test_threads_are_as_in_any_process_and_so_is_the_time_zone(snapshot: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_STACK)

    def smaller() -> None:
        resource.setrlimit(resource.RLIMIT_STACK, (3 << 20, hard))

    found = said(snapshot, env={"TZ": "XYZ-5"}, preexec_fn=smaller)
    assert found["thread"][1:] == [True, 3 << 20]
    assert found["zone"][0] == "XYZ"


@pytest.mark.parametrize("before", ["TLS", "a database"])
def test_a_template_that_has_more_than_modules_makes_no_snapshot(tmp_path: Path, before: str) -> None:
    with pytest.raises(Unsupported, match="ended with 1"):
        made(tmp_path / "snapshot", before)
    assert not list(tmp_path.iterdir())


def test_of_memory_that_is_mapped_singly_no_page_is_there_that_nobody_has_looked_at(tmp_path: Path) -> None:
    file = tmp_path / "pages"
    file.write_bytes(b"x" * (64 * mmap.PAGESIZE))
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 0, mmap.MAP_PRIVATE) as memory:
        begin, end, size = place_of(file)
        kept = map_singly([(begin, end - begin)])
        if kept is None:
            pytest.skip("this kernel cannot write-protect asynchronously (Linux 6.7)")
        with kept:
            assert size == 0
            assert memory[20 * mmap.PAGESIZE] == ord("x")
            memory[40 * mmap.PAGESIZE] = ord("y")
            assert place_of(file)[2] == 2 * mmap.PAGESIZE // 1024
        assert memory[30 * mmap.PAGESIZE] == ord("x")
        assert place_of(file)[2] > 2 * mmap.PAGESIZE // 1024, "now the kernel maps the neighbours as well"
        assert memory[40 * mmap.PAGESIZE] == ord("y")


def place_of(file: Path) -> tuple[int, int, int]:
    """Where this process has a file in memory, and how many KiB of it."""
    lines = Path("/proc/self/smaps").read_text().splitlines()
    first = next(index for index, line in enumerate(lines) if line.endswith(str(file)))
    begin, end = (int(one, 16) for one in lines[first].split()[0].split("-"))
    resident = next(line for line in lines[first:] if line.startswith("Rss:"))
    return begin, end, int(resident.split()[1])
