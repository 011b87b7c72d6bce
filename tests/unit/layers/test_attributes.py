"""Extended attributes that are copied one by one."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from wherry.layers.file_content import copy_attributes

REFUSED = {
    "security.capability": errno.EPERM,
    "trusted.other": errno.EOPNOTSUPP,
    "user.long": errno.E2BIG,
    "user.gone": errno.ENODATA,
}
#: Where one is refused at the beginning, in the middle and at the end.
NAMES = ["user.gone", "user.first", "security.capability", "user.second", "trusted.other", "user.third", "user.long"]


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A source with attributes, and a target that does not take all of them; what it took."""
    found: dict[str, bytes] = {}

    def get(_: Any, name: str, **__: Any) -> bytes:
        if name == "user.gone":
            raise OSError(REFUSED[name], "gone")
        return name.encode()

    def put(_: Any, name: str, value: bytes, **__: Any) -> None:
        if name in REFUSED:
            raise OSError(REFUSED[name], "refused")
        found[name] = value

    monkeypatch.setattr(os, "listxattr", lambda *_, **__: [*NAMES, "trusted.overlay.opaque", "security.selinux"])
    monkeypatch.setattr(os, "getxattr", get)
    monkeypatch.setattr(os, "setxattr", put)
    return found


def test_an_attribute_that_one_side_refuses_does_not_take_the_others_with_it(stored: dict[str, bytes]) -> None:
    copy_attributes(b"source", b"target")
    assert stored == {name: name.encode() for name in ("user.first", "user.second", "user.third")}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told(stored: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    monkeypatch.setitem(REFUSED, "user.second", code)
    with pytest.raises(OSError, match="refused") as caught:
        copy_attributes(b"source", b"target")
    assert caught.value.errno == code


def test_a_file_without_attributes_is_copied(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).write_text("1")
    copy_attributes(bytes(tmp_path / "one"), bytes(tmp_path / "other"))
    copy_attributes(bytes(tmp_path / "none"), bytes(tmp_path / "other"))
    assert [name for name in os.listxattr(tmp_path / "other") if name.startswith("user.")] == []
