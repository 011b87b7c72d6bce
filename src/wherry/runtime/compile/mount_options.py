"""Parse mount options as mount(8) writes them."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from wherry.errors import InvalidInput
from wherry.linux.mount import MOUNT_ATTR, MS

__all__ = ["KNOWN", "MountOptions", "parse"]

A = MOUNT_ATTR

#: Option to the attributes that it sets and clears on the mount.
_ATTRIBUTES: Final[dict[str, tuple[int, int]]] = {
    "ro": (A.RDONLY, 0),
    "rw": (0, A.RDONLY),
    "nosuid": (A.NOSUID, 0),
    "suid": (0, A.NOSUID),
    "nodev": (A.NODEV, 0),
    "dev": (0, A.NODEV),
    "noexec": (A.NOEXEC, 0),
    "exec": (0, A.NOEXEC),
    "nosymfollow": (A.NOSYMFOLLOW, 0),
    "symfollow": (0, A.NOSYMFOLLOW),
    "nodiratime": (A.NODIRATIME, 0),
    "diratime": (0, A.NODIRATIME),
    # The way access times are kept is one value in three bits: RELATIME is zero.
    "relatime": (0, A.ATIME),
    "norelatime": (A.STRICTATIME, A.ATIME),
    "noatime": (A.NOATIME, A.ATIME),
    "atime": (0, A.ATIME),
    "strictatime": (A.STRICTATIME, A.ATIME),
    "nostrictatime": (0, A.ATIME),
}
#: Properties of a file system, not of a mount: they are passed on to the file system, and mean nothing to a bind.
_SUPERBLOCK: Final = {
    "sync": "sync",
    "async": "async",
    "dirsync": "dirsync",
    "lazytime": "lazytime",
    "nolazytime": "nolazytime",
    "mand": "mand",
    "nomand": "nomand",
    "iversion": "",
    "noiversion": "",
    "acl": "",
    "noacl": "",
    "silent": "",
    "loud": "",
    "defaults": "",
    "": "",
}
_PROPAGATION: Final[dict[str, int]] = {
    "private": MS.PRIVATE,
    "rprivate": MS.PRIVATE | MS.REC,
    "shared": MS.SHARED,
    "rshared": MS.SHARED | MS.REC,
    "slave": MS.SLAVE,
    "rslave": MS.SLAVE | MS.REC,
    "unbindable": MS.UNBINDABLE,
    "runbindable": MS.UNBINDABLE | MS.REC,
}
_EXTENSIONS: Final = frozenset({"tmpcopyup", "idmap", "ridmap", "detached", "own", "remount"})

#: All options that mean the same whatever is mounted; any other is the file system's own.
KNOWN: Final = frozenset(
    {"bind", "rbind", *_ATTRIBUTES, *_PROPAGATION, *filter(None, _SUPERBLOCK), "tmpcopyup", "idmap", "ridmap"}
    | {f"r{name}" for name in _ATTRIBUTES}
)


class MountOptions(NamedTuple):
    """Options, taken apart.

    :ivar bind: and ``recursive``: ``bind`` or ``rbind``.
    :ivar set: and ``clear``: attributes of the mount.
    :ivar set_below: and ``clear_below``: of it and all mounts below (``rro`` and its kin).
    :ivar propagation: flags of :class:`MS`, in order.
    :ivar superblock: the file system's general options.
    :ivar data: all others: the file system's own, as ``(name, value or None)``.
    :ivar extensions: of ``tmpcopyup``, ``idmap``, ``ridmap``, ``detached``, ``own``, and ``remount``: a bind gets its
        attributes in a second step anyway.
    """

    bind: bool
    recursive: bool
    set: int
    clear: int
    set_below: int
    clear_below: int
    propagation: tuple[int, ...]
    superblock: tuple[str, ...]
    data: tuple[tuple[str, str | None], ...]
    extensions: frozenset[str]


class _Attributes:
    """Attributes as later options override earlier ones."""

    def __init__(self) -> None:
        self.set = 0
        self.clear = 0

    def change(self, change: tuple[int, int]) -> None:
        on, off = (int(one) for one in change)
        self.set = self.set & ~off | on
        self.clear = self.clear & ~(on & ~A.ATIME) | off


@lru_cache(maxsize=256)
def parse(options: tuple[str, ...]) -> MountOptions:
    """Take options apart; later ones override earlier ones.

    :raises InvalidInput: an option that cannot be: text with a NUL byte.
    """
    own, below = _Attributes(), _Attributes()
    bind = recursive = False
    propagation: list[int] = []
    superblock: list[str] = []
    data: list[tuple[str, str | None]] = []
    extensions = set()
    for option in options:
        if option in ("bind", "rbind"):
            bind, recursive = True, recursive or option == "rbind"
        elif option in _ATTRIBUTES:
            own.change(_ATTRIBUTES[option])
        elif option[:1] == "r" and option[1:] in _ATTRIBUTES:
            below.change(_ATTRIBUTES[option[1:]])
        elif option in _PROPAGATION:
            propagation.append(int(_PROPAGATION[option]))
        elif option in _SUPERBLOCK:
            superblock += [_SUPERBLOCK[option]] if _SUPERBLOCK[option] else []
        elif option in _EXTENSIONS:
            extensions.add(option)
        else:
            data.append(_datum(option))
    return MountOptions(
        bind,
        recursive,
        own.set,
        own.clear,
        below.set,
        below.clear,
        tuple(propagation),
        tuple(superblock),
        tuple(data),
        frozenset(extensions),
    )


def _datum(option: str) -> tuple[str, str | None]:
    if "\0" in option:
        raise InvalidInput(f"the mount option {option!r} contains a NUL byte")
    key, equals, value = option.partition("=")
    return key, value if equals else None
