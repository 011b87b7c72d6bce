"""Classes of service in a directory that stands for resctrl: the kernel makes the files of a class there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wherry.errors import InvalidInput, SystemFault, Unsupported
from wherry.runtime import intel_rdt
from wherry.runtime.intel_rdt import IntelRdt, assign, change, clean_up, join, mounted, remove


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory in which new directories have files at once, which are removed with them, as in the kernel."""
    made, removed = os.mkdir, os.rmdir

    def mkdir(path: str, mode: int = 0o777) -> None:
        made(path, mode)
        for name in ("tasks", "schemata"):
            Path(path, name).write_text("L3:0=fffff;1=fffff\nMB:0=100\n" if name == "schemata" else "")
        if Path(path).parent == tmp_path:
            made(Path(path, "mon_groups"))

    def rmdir(path: str) -> None:
        for file in ("tasks", "schemata"):
            Path(path, file).unlink(missing_ok=True)
        groups = Path(path, "mon_groups")
        if groups.is_dir() and not any(groups.iterdir()):
            removed(groups)
        removed(path)

    monkeypatch.setattr(intel_rdt.os, "mkdir", mkdir)
    monkeypatch.setattr(intel_rdt.os, "rmdir", rmdir)
    return tmp_path


def test_a_class_of_its_own_is_made_and_goes_with_the_container(top: Path) -> None:
    wanted = IntelRdt("abc", schemata=("L3:0=f",), monitor="abc")
    assign(wanted, 42, str(top))
    assert (top / "abc/schemata").read_text().startswith("L3:0=f\n")
    assert (top / "abc/tasks").read_text() == (top / "abc/mon_groups/abc/tasks").read_text() == "42\n"
    join(wanted, 43, str(top))
    assert (top / "abc/tasks").read_text() == "43\n"
    change(wanted, ["MB:0=10"], str(top))
    assert (top / "abc/schemata").read_text().startswith("MB:0=10\n")
    with pytest.raises(InvalidInput, match="no line"):
        change(wanted, ["MB:0=10\nL3:0=f"], str(top))
    remove(wanted, str(top))
    remove(wanted, str(top))
    assert list(top.iterdir()) == []


def test_a_named_class_stays_and_must_have_the_shares_that_are_asked_for(top: Path) -> None:
    shared = IntelRdt("gold", shared=True, schemata=("L3:0=0fFffF", "MB:0=100"), checked=2)
    assign(shared, 1, str(top))
    (top / "gold/schemata").write_text("    L3:0=fffff;1=fffff\n    MB:0= 100\n")
    assign(shared, 42, str(top))
    remove(shared, str(top))
    assert (top / "gold/tasks").exists()
    with pytest.raises(InvalidInput, match=r"other shares than 'MB:0=90'.*MB:0 is") as raised:
        assign(shared._replace(schemata=("MB:0=90",), checked=1), 42, str(top))
    assert "gold" in str(raised.value)


def test_a_named_class_without_shares_must_exist(top: Path) -> None:
    wanted = IntelRdt("gold", shared=True)
    with pytest.raises(InvalidInput, match="no class of service 'gold'"):
        assign(wanted, 42, str(top))
    assert list(top.iterdir()) == []
    assign(wanted._replace(schemata=("MB:0=10",)), 42, str(top))
    assign(wanted, 43, str(top))
    assert (top / "gold/tasks").read_text() == "43\n"


def test_what_the_kernel_refuses_leaves_no_class(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: str, text: str) -> None:
        raise InvalidInput("refused")

    monkeypatch.setattr(intel_rdt, "_write", full)
    with pytest.raises(InvalidInput, match="refused"):
        assign(IntelRdt("abc", schemata=("L3:0=zzz",)), 42, str(top))
    assert list(top.iterdir()) == []


def test_a_file_system_that_is_not_there_is_told() -> None:
    if " - resctrl " in Path("/proc/self/mountinfo").read_text():
        pytest.skip("this machine has one")
    with pytest.raises(Unsupported, match="no resctrl file system is mounted"):
        mounted()
    clean_up(IntelRdt("abc"))


def test_a_class_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(SystemFault, match="cannot make"):
        assign(IntelRdt("abc"), 42, str(tmp_path / "missing"))
