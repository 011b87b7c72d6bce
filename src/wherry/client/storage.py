"""What lies on the daemon's disk, looked at closely: wherry's own additions to the API. Every method is one request."""

from __future__ import annotations

from wherry.client.transport import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from wherry.client.client import Client

__all__ = ["Storage"]


class Storage:
    """Layers, differences between images, damage, and where every byte went."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def accounts(self) -> dict[str, Any]:
        """Bytes under the data root by owner, and what belongs to nobody."""
        return dict(self._client.json("GET", "/wherry/accounts"))

    def sharing(self) -> dict[str, Any]:
        """All images with their layers, and all layers with the images that have them."""
        return dict(self._client.json("GET", "/wherry/layers"))

    def layers(self, image: str) -> list[dict[str, Any]]:
        """An image's layers, the lowest first, with what each one adds, replaces and deletes."""
        return list(self._client.json("GET", f"/wherry/images/{escape(image)}/layers"))

    def differences(self, image: str, other: str) -> list[dict[str, Any]]:
        """What ``other`` has differently from ``image``, file by file."""
        return list(self._client.json("GET", f"/wherry/images/{escape(image)}/diff", {"to": other}))

    def check(self, *, repair: bool = False) -> Iterator[dict[str, Any]]:
        """Check everything; yields what comes out of each thing, and last a summary."""
        return self._client.call("POST", "/wherry/fsck", {"repair": repair}).json_values()
