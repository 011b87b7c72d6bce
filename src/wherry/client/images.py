"""Images, as the Engine API has them. Every method is one request."""

from __future__ import annotations

from wherry.client.transport import INSPECT_VERSION, escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    import builtins
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from wherry.client.requests import Requests
    from wherry.client.transport import Response

    Filters = Mapping[str, Iterable[str]]

__all__ = ["Images"]


def _path(ref: str, verb: str = "") -> str:
    if not ref.strip():
        from wherry.errors import InvalidInput

        raise InvalidInput("invalid image name: value is empty")
    return f"/images/{escape(ref)}{verb}"


class Images:
    """The images of a daemon. ``ref`` is ``name[:tag]``, ``name@digest``, an ID or a prefix of an ID."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    def list(
        self, *, all: bool = False, digests: bool = False, manifests: bool = False, filters: Filters | None = None
    ) -> builtins.list[dict[str, Any]]:
        """List images."""
        query = {"all": all, "digests": digests, "manifests": manifests, "filters": filters}
        return list(self._requests.json("GET", "/images/json", query))

    def inspect(self, ref: str, *, platform: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Inspect an image, in the form of `INSPECT_VERSION`."""
        return dict(self._requests.json("GET", INSPECT_VERSION + _path(ref, "/json"), {"platform": platform}))

    def history(self, ref: str, *, platform: Mapping[str, str] | None = None) -> builtins.list[dict[str, Any]]:
        """The history of an image, newest step first."""
        return list(self._requests.json("GET", _path(ref, "/history"), {"platform": platform}))

    def tag(self, ref: str, repo: str, tag: str) -> None:
        """Create a tag for an image."""
        self._requests.do("POST", _path(ref, "/tag"), {"repo": repo, "tag": tag or None})

    def remove(
        self, ref: str, *, force: bool = False, prune: bool = True, platforms: Sequence[str] = ()
    ) -> builtins.list[dict[str, str]]:
        """Remove a tag, and with the last one the image. :returns: ``{"Untagged": ...}`` and ``{"Deleted": ...}``."""
        query = {"force": force, "noprune": not prune, "platforms": list(platforms)}
        return list(self._requests.json("DELETE", _path(ref), query) or [])

    def prune(self, filters: Filters | None = None) -> dict[str, Any]:
        """Remove unused images."""
        return dict(self._requests.json("POST", "/images/prune", {"filters": filters}))

    def pull(
        self, name: str, tag: str, *, platform: str = "", headers: Mapping[str, str] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Pull an image, or with an empty tag all tags of a repository; yields progress.

        :param headers: ``X-Registry-Auth``: the credentials.
        """
        query = {"fromImage": name, "tag": tag or None, "platform": platform or None}
        return self._requests.call("POST", "/images/create", query, headers=headers).json_values()

    def push(
        self, name: str, tag: str, *, platform: str = "", headers: Mapping[str, str] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Push an image, or with an empty tag all tags of a repository; yields progress."""
        # Docker's daemon requires the header even when it is empty.
        sent = {"X-Registry-Auth": "e30=", **(headers or {})}
        query = {"tag": tag or None, "platform": platform or None}
        return self._requests.call("POST", _path(name, "/push"), query, headers=sent).json_values()

    def search(
        self, term: str, *, limit: int = 0, filters: Filters | None = None, headers: Mapping[str, str] | None = None
    ) -> builtins.list[dict[str, Any]]:
        """Search a registry for images."""
        query = {"term": term, "limit": limit or None, "filters": filters}
        return list(self._requests.call("GET", "/images/search", query, headers=headers).json())

    def remote(
        self, ref: str, *, platform: str = "", referrers: bool = False, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """The manifest of an image in a registry (wherry's addition to the API)."""
        query = {"platform": platform or None, "referrers": referrers}
        path = f"/distribution/{escape(ref)}/manifest"
        return dict(self._requests.call("GET", path, query, headers=headers).json())

    def push_list(
        self, name: str, images: Sequence[Mapping[str, Any]], *, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Make an index of images that a registry has (wherry's addition to the API); its descriptor.

        :param images: each with its ``Reference``, which has a digest, and its ``Platform``.
        """
        path = f"/distribution/{escape(name)}/manifest"
        return dict(self._requests.call("POST", path, json={"Manifests": list(images)}, headers=headers).json())

    def load(
        self, archive: bytes | Iterable[bytes], *, quiet: bool = False, platforms: Sequence[Mapping[str, str]] = ()
    ) -> Iterator[dict[str, Any]]:
        """Load images from an archive (docker-archive or OCI), as bytes or chunks; yields progress."""
        query: dict[str, object] = {"quiet": "1" if quiet else "0", "platform": list(_json_all(platforms))}
        headers = {"Content-Type": "application/x-tar"}
        return self._requests.call("POST", "/images/load", query, body=archive, headers=headers).json_values()

    def save(self, refs: Sequence[str], *, platforms: Sequence[Mapping[str, str]] = ()) -> Response:
        """Save images; the body is an archive."""
        query = {"names": list(refs), "platform": list(_json_all(platforms))}
        return self._requests.call("GET", "/images/get", query)

    def import_archive(
        self,
        archive: bytes | Iterable[bytes] | None,
        *,
        source: str = "-",
        repo: str = "",
        tag: str = "",
        changes: Sequence[str] = (),
        message: str = "",
        platform: str = "",
    ) -> Iterator[dict[str, Any]]:
        """Import a root filesystem's tar archive as an image; yields progress.

        :param source: ``"-"``: the archive follows; else an address that the daemon reads.
        :param changes: Dockerfile instructions, ``"CMD [...]"``.
        """
        query = {
            "fromSrc": source, "repo": repo or None, "tag": tag or None, "changes": list(changes),
            "message": message or None, "platform": platform.lower() or None,
        }  # fmt: skip
        headers = {"Content-Type": "application/x-tar"} if archive is not None else None
        return self._requests.call("POST", "/images/create", query, body=archive, headers=headers).json_values()


def _json_all(platforms: Sequence[Mapping[str, str]]) -> Iterator[str]:
    from wherry.client.codec import encode

    for platform in platforms:
        yield encode(dict(platform)).decode()
