"""The directory of an image, and the two files in it that are not criu's.

``descriptors.json``: what the standard streams of the first process were, as runc and crun write it too.
``external.json``: the mounts that stay outside.
"""

from __future__ import annotations

import json
import os
import posixpath
import stat
from typing import Any, Final

from wherry.errors import CorruptData, InvalidInput, NotFound, SystemFault
from wherry.linux.fd import Fd
from wherry.runtime.criu.mounts import External

__all__ = ["opened", "read_external", "read_streams", "write_external", "write_streams"]

_STREAMS, _EXTERNAL = "descriptors.json", "external.json"
_LARGEST: Final = 4 << 20


def opened(path: str, what: str, *, make: bool = False, links: bool = False) -> Fd:
    """Open a directory.

    :param make: whether to make it, for its owner alone, if it is missing.
    :param links: whether its last part may be a link, as containerd's work directory is.
    :raises InvalidInput: it is no directory.
    :raises NotFound: it is not there.
    """
    try:
        if make:
            os.makedirs(path, 0o700, exist_ok=True)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (0 if links else os.O_NOFOLLOW)
        return Fd(os.open(path, flags))
    except FileNotFoundError:
        raise NotFound(f"there is no {what} {path!r}") from None
    except (NotADirectoryError, FileExistsError):
        raise InvalidInput(f"the {what} {path!r} is no directory") from None
    except OSError as error:
        raise SystemFault(f"the {what} {path!r} cannot be used", cause=(error.strerror or "").lower()) from error


def write_streams(images: Fd, streams: list[str]) -> None:
    """Note what the standard streams are."""
    _write(images, _STREAMS, streams)


def read_streams(images: Fd) -> list[str]:
    """Return what they were; nothing if nobody has noted it.

    :raises CorruptData: something else is there.
    """
    found = _read(images, _STREAMS)
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise CorruptData(f"{_STREAMS!r} of the image does not list descriptors")
    return found[:3]


def write_external(images: Fd, mounts: list[External]) -> None:
    """Note which mounts stay outside."""
    _write(images, _EXTERNAL, {"mounts": [list(one) for one in mounts]})


def read_external(images: Fd) -> list[External]:
    """Return which mounts stayed outside; nothing if nobody has noted it.

    :raises CorruptData: something else is there.
    """
    found = _read(images, _EXTERNAL)
    if found is None:
        return []
    rows = found.get("mounts") if isinstance(found, dict) else None
    if not isinstance(rows, list):
        raise CorruptData(f"{_EXTERNAL!r} of the image does not list mounts")
    return [_row(row) for row in rows]


def _row(row: Any) -> External:
    if not isinstance(row, list) or len(row) != 3 or not all(isinstance(one, str) and "\0" not in one for one in row):
        raise CorruptData(f"{_EXTERNAL!r} of the image lists {row!r}, which is no mount")
    mount = External(*row)
    below = f"/{mount.below}"
    normal = all(posixpath.normpath(path) == path.rstrip("/") for path in (mount.place, below) if path != "/")
    absolute = mount.place.startswith("/") and not mount.below.startswith("/")
    if not absolute or mount.place == "/" or not normal:
        raise CorruptData(f"{_EXTERNAL!r} of the image has the path {mount.place!r} or {mount.below!r}")
    return mount


def _write(images: Fd, name: str, content: Any) -> None:
    """Write a file of ours in place of what is there, which may be a link."""
    data = json.dumps(content).encode(errors="surrogateescape")
    try:
        draft = f"{name}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(draft, flags, 0o600, dir_fd=images.fileno())
        with open(fd, "wb") as file:
            file.write(data)
        os.rename(draft, name, src_dir_fd=images.fileno(), dst_dir_fd=images.fileno())
    except OSError as error:
        raise SystemFault(f"{name!r} of the image cannot be written", cause=(error.strerror or "").lower()) from error


def _read(images: Fd, name: str) -> Any:
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=images.fileno())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CorruptData(f"{name!r} of the image cannot be read", cause=(error.strerror or "").lower()) from error
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise CorruptData(f"{name!r} of the image is no file")
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise CorruptData(f"{name!r} of the image is larger than {_LARGEST} bytes")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CorruptData(f"{name!r} of the image is no JSON", cause=str(error)) from error
