"""Files of containers, as the Engine API has them. Every method is one request."""

from __future__ import annotations

from contextlib import contextmanager

from wherry.client.transport import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from wherry.client.requests import Requests
    from wherry.client.transport import Response

__all__ = ["Archives", "PathStatus"]

_TAR = {"Content-Type": "application/x-tar"}
# Go's os.FileMode and stat(2)'s types (S_IFDIR...), and the bits of permissions that are elsewhere.
_KINDS = ((1 << 31, 0o040000), (1 << 27, 0o120000), (1 << 25, 0o010000), (1 << 24, 0o140000), (1 << 21, 0o020000))
_DEVICE = 1 << 26, 0o060000
_SPECIAL = ((1 << 23, 0o4000), (1 << 22, 0o2000), (1 << 20, 0o1000))


class PathStatus:
    """What is at a path.

    :ivar mode: as stat(2) has it.
    :ivar modified: RFC 3339.
    """

    __slots__ = ("link_target", "mode", "modified", "name", "size")

    def __init__(self, response: Response) -> None:
        from binascii import Error, a2b_base64

        from wherry.client.codec import decode
        from wherry.errors import Unavailable

        try:
            found = decode(a2b_base64(response.headers.get("x-docker-container-path-stat", "")))
            self.name, self.size = str(found["name"]), int(found["size"])
            self.mode, self.modified = _mode(int(found["mode"])), str(found.get("mtime", ""))
            self.link_target = str(found.get("linkTarget") or "")
        except (Error, ValueError, KeyError, TypeError) as error:
            raise Unavailable(f"the daemon's response does not say what is at the path: {error}") from error


def _mode(mode: int) -> int:
    bits = mode & 0o777
    for theirs, ours in _SPECIAL:
        bits |= ours if mode & theirs else 0
    for theirs, ours in (*_KINDS, _DEVICE):
        if mode & theirs:
            return bits | ours
    return bits | 0o100000


class Archives:
    """The files of a daemon's containers. ``ref`` is a name, an ID or a prefix of an ID."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    def look(self, ref: str, path: str) -> PathStatus:
        """What is at a path; a link at its end is not followed.

        :raises wherry.errors.NotFound: there is no such container, or nothing at the path.
        """
        response = self._requests.call("HEAD", _path(ref), {"path": path})
        response.read()
        return PathStatus(response)

    @contextmanager
    def take(self, ref: str, path: str) -> Iterator[tuple[PathStatus, Response]]:
        """What is at a path, and a response whose body is its archive."""
        with self._requests.call("GET", _path(ref), {"path": path}) as response:
            yield PathStatus(response), response

    def put(
        self, ref: str, path: str, archive: bytes | Iterable[bytes], *, copy_owner: bool = False, keep: bool = True
    ) -> None:
        """Unpack an archive into a directory.

        :param copy_owner: the files are to belong to the container's user.
        :param keep: a directory is not replaced by something else, nor the other way round.
        """
        query = {"path": path, "noOverwriteDirNonDir": "true" if keep else None, "copyUIDGID": copy_owner}
        self._requests.call("PUT", _path(ref), query, body=archive, headers=_TAR).read()


def _path(ref: str) -> str:
    if not ref.strip():
        from wherry.errors import InvalidInput

        raise InvalidInput("invalid container name or ID: value is empty")
    return f"/containers/{escape(ref)}/archive"
