"""Mount options: what is the mount's, what the file system's, and which of two counts."""

from __future__ import annotations

import pytest

from wherry.linux.mount import MOUNT_ATTR, MS
from wherry.runtime.compile.mount_options import parse


@pytest.mark.parametrize(
    ("options", "set_", "clear"),
    [
        ((), 0, 0),
        (("ro",), MOUNT_ATTR.RDONLY, 0),
        (("ro", "rw"), 0, MOUNT_ATTR.RDONLY),
        (("nosuid", "nodev"), MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV, 0),
        (("nosuid", "suid"), 0, MOUNT_ATTR.NOSUID),
        (("noatime",), MOUNT_ATTR.NOATIME, MOUNT_ATTR.ATIME),
        (("noatime", "relatime"), 0, MOUNT_ATTR.ATIME),
        (("strictatime", "noatime"), MOUNT_ATTR.NOATIME, MOUNT_ATTR.ATIME),
    ],
)
def test_later_options_override_earlier_ones(options: tuple[str, ...], set_: int, clear: int) -> None:
    found = parse(options)
    assert (found.set, found.clear) == (set_, clear)


def test_options_are_sorted_by_whom_they_are_for() -> None:
    found = parse(("rbind", "rro", "rslave", "size=5m", "sync", "tmpcopyup", "defaults", "huge"))
    assert (found.bind, found.recursive) == (True, True)
    assert found.set_below == MOUNT_ATTR.RDONLY
    assert found.propagation == (MS.SLAVE | MS.REC,)
    assert found.superblock == ("sync",)
    assert found.data == (("size", "5m"), ("huge", None))
    assert found.extensions == {"tmpcopyup"}
