"""A volume, as it is written down."""

from __future__ import annotations

from typing import Final

from msgspec import Struct, field

__all__ = ["ANONYMOUS_LABEL", "LOCAL", "Volume"]

LOCAL: Final = "local"
"""The driver of volumes that are directories here; also the scope of what only this machine has."""

ANONYMOUS_LABEL: Final = "com.docker.volume.anonymous"
"""By this label Docker's clients know that nobody has named a volume."""


class Volume(Struct, frozen=True, kw_only=True):
    """One volume: its row.

    :param options: for the driver; those of `LOCAL` are in `wherry.volumes.options`.
    :param created: RFC 3339.
    :param anonymous: nobody has named it; its name is 64 hexadecimal digits.
    :param scope: ``local`` or ``global``: what the driver says of where it is known.
    :param unfinished_copy: where in it an image's files are being copied to, or were when the daemon was killed; None:
        nowhere. Of volumes that are mounted, and of parts.
    """

    name: str
    driver: str = LOCAL
    options: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    created: str = ""
    anonymous: bool = False
    scope: str = LOCAL
    unfinished_copy: str | None = None
