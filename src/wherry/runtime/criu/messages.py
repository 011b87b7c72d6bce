"""What criu is asked, and what it answers: the fields of its ``rpc.proto`` that are used here, under its names."""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

from wherry.errors import CorruptData
from wherry.runtime.criu.wire import Field, decode, encode, signed

__all__ = ["GO_ON", "REFUSE", "Kind", "Options", "Response", "request"]


class Kind(IntEnum):
    """``criu_req_type``."""

    EMPTY = 0
    DUMP = 1
    RESTORE = 2
    PRE_DUMP = 4
    NOTIFY = 6


_NUMBERS: Final = {
    "images_dir_fd": 1,
    "pid": 2,
    "leave_running": 3,
    "ext_unix_sk": 4,
    "tcp_established": 5,
    "evasive_devices": 6,
    "shell_job": 7,
    "file_locks": 8,
    "log_level": 9,
    "log_file": 10,
    "notify_scripts": 12,
    "root": 13,
    "parent_img": 14,
    "track_mem": 15,
    "auto_dedup": 16,
    "work_dir_fd": 17,
    "manage_cgroups": 24,
    "rst_sibling": 26,
    "manage_cgroups_mode": 34,
    "empty_ns": 38,
    "freeze_cgroup": 44,
    "orphan_pts_master": 50,
    "tcp_close": 52,
    "lsm_profile": 53,
    "lsm_mount_context": 63,
    "network_lock": 64,
}
_PAGE_SERVER, _EXT_MNT, _CG_ROOT, _INHERIT_FD, _EXTERNAL = 11, 23, 25, 27, 37


class Options:
    """``criu_opts``.

    :ivar plain: fields of one value, by name; those that are false, zero or empty are left out.
    :ivar ext_mnt: mount points in the container, and what they are outside.
    :ivar cg_root: controllers, and the control group that is to be theirs.
    :ivar inherit_fd: names of what is open from outside, and descriptors of criu's process.
    :ivar external: names of what stays outside.
    :ivar page_server: address and port of a page server; None for none.
    """

    def __init__(self, **plain: int | bool | str) -> None:
        self.plain = plain
        self.ext_mnt: list[tuple[str, str]] = []
        self.cg_root: list[tuple[str, str]] = []
        self.inherit_fd: list[tuple[str, int]] = []
        self.external: list[str] = []
        self.page_server: tuple[str, int] | None = None

    def fields(self) -> list[Field]:
        """As in the message."""
        found: list[Field] = [
            (_NUMBERS[name], value) for name, value in self.plain.items() if value or name == "images_dir_fd"
        ]
        found += [(_EXT_MNT, _pair(*one)) for one in self.ext_mnt]
        found += [(_CG_ROOT, _pair(*one)) for one in self.cg_root]
        found += [(_INHERIT_FD, _pair(*one)) for one in self.inherit_fd]
        found += [(_EXTERNAL, name) for name in self.external]
        if self.page_server is not None:
            found.append((_PAGE_SERVER, _pair(*self.page_server)))
        return found


def _pair(first: str, second: str | int) -> list[Field]:
    return [(1, first), (2, second)]


def request(kind: Kind, options: Options) -> bytes:
    """Return a request (``criu_req``)."""
    return encode([(1, int(kind)), (2, options.fields())])


#: The two answers to a notification.
GO_ON: Final = encode([(1, int(Kind.NOTIFY)), (3, True)])
REFUSE: Final = encode([(1, int(Kind.NOTIFY)), (3, False)])


class Response(NamedTuple):
    """``criu_resp``.

    :ivar kind: what it answers; NOTIFY asks in turn.
    :ivar pid: of the restored process, or of what a notification is about.
    :ivar script: what a notification is about.
    :ivar errno: as criu tells it; 0 if it does not.
    """

    kind: int
    success: bool
    pid: int = 0
    script: str = ""
    errno: int = 0
    text: str = ""

    @classmethod
    def read(cls, data: bytes) -> Response:
        """Read an answer.

        :raises CorruptData: it is none.
        """
        fields = decode(data)
        kind, success = fields.get(1), fields.get(2)
        if not isinstance(kind, int) or not isinstance(success, int):
            raise CorruptData("criu's answer has no type, or does not say whether it succeeded")
        restored, notified = _inner(fields, 4), _inner(fields, 5)
        pid = restored.get(1, notified.get(2, 0))
        errno, text, script = fields.get(7, 0), fields.get(9, b""), notified.get(1, b"")
        return cls(
            kind,
            bool(success),
            signed(pid) if isinstance(pid, int) else 0,
            _text(script),
            signed(errno) if isinstance(errno, int) else 0,
            _text(text),
        )


def _inner(fields: dict[int, int | bytes], number: int) -> dict[int, int | bytes]:
    value = fields.get(number, b"")
    return decode(value) if isinstance(value, bytes) else {}


def _text(value: int | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else ""
