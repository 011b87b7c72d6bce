"""``--mount type=image``: the files of another image, read-only, at a path of the container."""

from __future__ import annotations

import posixpath
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from msgspec.structs import replace

from wherry.engine.container.mount_point import MountPoint
from wherry.errors import InvalidInput, Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from typing import Any

    from wherry.docker.container_requests import Mount

__all__ = ["image_mount", "with_images"]

_WRONG = 'invalid mount config for type "image": '


def image_mount(mount: Mount, target: str) -> MountPoint:
    """What is asked for, checked; which image that is, is seen by `with_images`.

    :param target: its target, checked.
    :raises InvalidInput: in Docker's words.
    """
    if not mount.source:
        raise InvalidInput(_WRONG + "field Source must not be empty")
    subpath = (mount.image_options.subpath if mount.image_options else None) or ""
    if not _is_local(subpath):
        raise InvalidInput(_WRONG + "subpath must be a relative path within the volume")
    return MountPoint(
        kind="image", name=mount.source, target=target, writable=False, subpath=subpath, options=["ro", "nodev"]
    )


def _is_local(path: str) -> bool:
    """Whether a path stays below where it begins, by its text: Go's ``filepath.IsLocal``, but for the empty path."""
    if path.startswith("/") or "\0" in path:
        return False
    cleaned = posixpath.normpath(path) if path else ""
    return cleaned != ".." and not cleaned.startswith("../")


@contextmanager
def with_images(
    points: Sequence[MountPoint], claim: Callable[[str], AbstractContextManager[Any]]
) -> Iterator[list[MountPoint]]:
    """Find the images of mounts, which stay until the end of the block: then the container's row protects them.

    :param claim: looks an image up, and keeps it.
    :raises NotFound: there is no such image.
    """
    with ExitStack() as claims:
        found = []
        for point in points:
            if point.kind != "image":
                found.append(point)
                continue
            image = claims.enter_context(claim(point.name))
            if image.built_in:
                raise Unsupported(f"the image {point.name} cannot be mounted: it is this machine itself")
            found.append(replace(point, source=str(image.id)))
        yield found
