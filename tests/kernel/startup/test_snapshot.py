"""Processes that are made of a startup snapshot: each is one of its own, wherever the kernel places its things."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support import snapshot_program
from support.needs import need
from wherry.errors import SystemFault, Unsupported
from wherry.linux._libc import ARCHITECTURE
from wherry.linux.process import personality
from wherry.startup.build import Program, build
from wherry.startup.machine_code import LISTINGS

pytestmark = pytest.mark.skipif(
    ARCHITECTURE not in LISTINGS or sys.version_info >= (3, 14),
    reason="there are no snapshots here",
)
#: personality(2)
NO_RANDOMIZE, COMPAT_LAYOUT = 0x40000, 0x200000


def program(path: str, *before: str, answer: bytes = b'"way": "snapshot"') -> Program:
    """The program, and what its template does before it stops."""
    return Program(
        interpreter=sys.executable,
        template=lambda base: ("-I", "-S", "-X", f"template={base}", path, *before),
        ordinary=("-I", "-S", path),
        attempt=("a try",),
        status=3,
        answer=answer,
    )


def made(directory: Path, *before: str, time: int = 1, **how: Any) -> tuple[Path, Path]:
    """A snapshot, and the source that it was made of: a copy beside a link to wherry's."""
    source = directory / "tests/support/snapshot_program.py"
    source.parent.mkdir(parents=True)
    shutil.copy(snapshot_program.__file__, source)
    (directory / "src").symlink_to(Path(snapshot_program.__file__).resolve().parents[2] / "src")
    os.utime(source, (time, time))
    build(program(str(source), *before, **how), str(directory / "snapshot"))
    return directory / "snapshot", source


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot that nobody changes."""
    return made(tmp_path_factory.mktemp("snapshot"))[0]


def said(path: Path, *arguments: str, **how: Any) -> dict[str, Any]:
    """What a process says that is made of it."""
    how = {"input": "", "env": {"A": "b"}, **how}
    done = subprocess.run([str(path), *arguments], stdout=subprocess.PIPE, text=True, check=False, **how)
    assert done.returncode == 3, done
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_process_has_its_own_arguments_environment_streams_directory_and_time(snapshot: Path, tmp_path: Path) -> None:
    assert snapshot.stat().st_mode & 0o777 == 0o700
    environment = {b"A": b"b=c", b"EMPTY": b"", b"ODD": b"\xff", b"LANG": b"en_US.UTF-8"}
    before = time.time()
    found = said(snapshot, "one", "", "d\u00e9j\u00e0", env=environment, input="words\n", cwd=tmp_path)
    assert found["way"] == "snapshot"
    assert found["arguments"] == ["one", "", "d\u00e9j\u00e0"]
    assert found["environment"] == {"A": "b=c", "EMPTY": "", "ODD": "\udcff", "LANG": "en_US.UTF-8"}
    assert (found["input"], found["directory"]) == ("words\n", str(tmp_path))
    assert found["streams"] == [0, 1, 2]
    assert before <= found["time"] <= time.time()
    assert found["flags"] == [1, 1]
    assert (found["interrupt"], found["pipe"]) == (True, True)


def arranged(name: str) -> Callable[[], None]:
    """What is done in a process before it executes the snapshot."""

    def stack(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_STACK, (size, resource.getrlimit(resource.RLIMIT_STACK)[1]))

    return {
        "as it comes": lambda: None,
        "nothing random": lambda: personality(NO_RANDOMIZE),
        "from below": lambda: personality(COMPAT_LAYOUT),
        "from below, nothing random": lambda: personality(COMPAT_LAYOUT | NO_RANDOMIZE),
        "small stack": lambda: stack(1 << 17),
        "large stack": lambda: stack(1 << 36),
    }[name]


@pytest.mark.parametrize(
    "layout",
    ["as it comes", "nothing random", "from below", "from below, nothing random", "small stack", "large stack"],
)
def test_it_has_memory_children_and_threads_wherever_the_kernel_places_them(snapshot: Path, layout: str) -> None:
    found = said(snapshot, "grow", preexec_fn=arranged(layout))
    assert found["way"] == "snapshot"
    assert (found["grown"], found["child"], found["thread"]) == (found["again"], found["again"] & 1, [True])


@need("root")
def test_it_needs_no_proc(snapshot: Path) -> None:
    command = ["unshare", "--mount", "sh", "-c", 'umount --lazy /proc && exec "$0" one', str(snapshot)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False)
    found = json.loads(done.stdout)
    assert (found["way"], found["arguments"]) == ("snapshot", ["one"])


def test_a_signal_that_the_caller_ignores_stays_ignored(snapshot: Path) -> None:
    done = subprocess.run(["/bin/sh", "-c", f"trap '' INT; exec {snapshot}"], stdout=subprocess.PIPE, check=False)
    found = json.loads(done.stdout)
    assert (found["way"], found["interrupt"]) == ("snapshot", False)


def test_a_stream_that_the_caller_has_closed_is_none(snapshot: Path) -> None:
    command = ["/bin/sh", "-c", 'exec "$0" one <&- 2>&-', str(snapshot)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    assert json.loads(done.stdout)["streams"] == [None, 1, None]


def test_fifty_starts_are_fifty_times_the_same(snapshot: Path) -> None:
    assert [said(snapshot, str(number))["arguments"] for number in range(50)] == [[str(one)] for one in range(50)]


@pytest.mark.parametrize("locale", ["de_DE", "en_US.ISO-8859-1"])
def test_with_another_encoding_the_ordinary_program_is_executed(snapshot: Path, locale: str) -> None:
    found = said(snapshot, "one", env={"LC_CTYPE": locale})
    assert (found["way"], found["arguments"]) == ("ordinary", ["one"])


def test_with_another_vdso_the_ordinary_program_is_executed(snapshot: Path) -> None:
    """As after a boot of another kernel; the machine code does that, before anything else."""
    content = bytearray(snapshot.read_bytes())
    magic = b"\x7fELF\x02\x01\x01"
    copies = [place for place in range(4096, len(content), 4096) if content[place : place + 7] == magic]
    other = snapshot.with_name("other")
    for place in copies:
        changed = bytearray(content)
        changed[place + 4095] ^= 1
        other.write_bytes(changed)
        other.chmod(0o700)
        found = said(other, "one", "two")
        assert found["arguments"] == ["one", "two"]
        if found["way"] == "ordinary":
            return
    pytest.fail("no page of the file was compared with the vDSO")


def test_when_a_source_has_changed_the_ordinary_program_is_executed_and_knows_why(tmp_path: Path) -> None:
    path, source = made(tmp_path)
    assert said(path)["way"] == "snapshot"
    os.utime(source, ns=(10**9, 10**9 + 1))
    assert said(path)["way"] == "stale"
    os.utime(source, (1, 1))
    assert said(path)["way"] == "snapshot"
    content = source.read_text()
    source.write_text(content + "# longer\n")
    os.utime(source, (1, 1))
    assert said(path)["way"] == "stale"
    source.write_text(content)
    os.utime(source, (1, 1))
    assert said(path)["way"] == "snapshot"
    shutil.copy2(source, tmp_path / "copy")
    (tmp_path / "copy").rename(source)
    found = said(path, "one")
    assert (found["way"], found["arguments"]) == ("stale", ["one"])


def test_in_a_copy_of_the_tree_the_program_of_the_copy_is_executed(snapshot: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(snapshot.parent, tmp_path / "copy", symlinks=True)
    source = copy / "tests/support/snapshot_program.py"
    source.write_text(source.read_text().replace('"ordinary"', '"the copy"'))
    found = said(copy / snapshot.name, "one")
    assert (found["way"], found["arguments"]) == ("the copy", ["one"])


@pytest.mark.parametrize("before", ["open", "random"])
def test_a_template_that_has_what_processes_may_not_share_makes_no_snapshot(tmp_path: Path, before: str) -> None:
    with pytest.raises(Unsupported, match="ended with 1"):
        made(tmp_path, before)
    assert not list(tmp_path.glob("snapshot*"))


def test_what_a_child_would_not_get_no_process_of_a_snapshot_gets(tmp_path: Path) -> None:
    """The C library draws random numbers from such memory; they would be the same in all processes."""
    assert said(made(tmp_path, "wiped")[0], "grow")["not wiped"] == [False, False]


def test_a_snapshot_that_does_not_answer_is_not_put_in_place(tmp_path: Path) -> None:
    with pytest.raises(SystemFault, match="does not work"):
        made(tmp_path, answer=b"something else")
    assert not list(tmp_path.glob("snapshot*"))


def test_one_that_would_always_find_itself_out_of_date_is_not_put_in_place(tmp_path: Path) -> None:
    """A source from the future may be another one at any moment; each call would make a snapshot anew."""
    with pytest.raises(SystemFault, match="has executed the ordinary program"):
        made(tmp_path, time=2**32)
    assert not list(tmp_path.glob("snapshot*"))
