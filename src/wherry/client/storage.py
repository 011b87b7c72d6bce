"""The daemon's storage: wherry's additions to the API. Every method is one request."""

from __future__ import annotations

from wherry.client.transport import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from wherry.client.requests import Requests

__all__ = ["Storage"]


class Storage:
    """Layers, differences between images, disk checks and disk usage."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    def accounts(self) -> dict[str, Any]:
        """Bytes under the data root by owner, and orphans."""
        return dict(self._requests.json("GET", "/wherry/accounts"))

    def sharing(self) -> dict[str, Any]:
        """All images with their layers, and all layers with the images that use them."""
        return dict(self._requests.json("GET", "/wherry/layers"))

    def layers(self, image: str) -> list[dict[str, Any]]:
        """The layers of an image, lowest first, with the files that each adds, replaces and deletes."""
        return list(self._requests.json("GET", f"/wherry/images/{escape(image)}/layers"))

    def differences(self, image: str, other: str) -> list[dict[str, Any]]:
        """The changes from ``image`` to ``other``, file by file."""
        return list(self._requests.json("GET", f"/wherry/images/{escape(image)}/diff", {"to": other}))

    def check(self, *, repair: bool = False) -> Iterator[dict[str, Any]]:
        """Verify everything; yields a finding for each object, and last a summary."""
        return self._requests.call("POST", "/wherry/fsck", {"repair": repair}).json_values()
