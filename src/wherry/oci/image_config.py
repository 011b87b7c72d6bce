"""The image configuration (OCI image specification, config.md), with the fields that Docker has beside the standard's.

Its bytes are the image's identity, so an image from elsewhere is kept, and passed on, as the bytes it came in; this
model only reads it. :func:`encode_config` writes ours.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from wherry.errors import InvalidInput
from wherry.oci.codec import decode, encode
from wherry.oci.digest import Digest

__all__ = ["ContainerConfig", "Healthcheck", "History", "ImageConfig", "RootFS", "encode_config", "parse_config"]


class Healthcheck(msgspec.Struct, omit_defaults=True, rename="pascal"):
    """How to find out whether a container works; times are in nanoseconds."""

    test: list[str] | None = None
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class ContainerConfig(msgspec.Struct, omit_defaults=True, rename="pascal"):
    """The default configuration of the image's containers."""

    user: str = ""
    exposed_ports: dict[str, dict[str, Any]] | None = None
    env: list[str] | None = None
    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    healthcheck: Healthcheck | None = None
    args_escaped: bool = False
    volumes: dict[str, dict[str, Any]] | None = None
    working_dir: str = ""
    on_build: list[str] | None = None
    labels: dict[str, str] | None = None
    stop_signal: str = ""
    shell: list[str] | None = None


class RootFS(msgspec.Struct):
    """The layers' diff IDs, bottom first."""

    type: str = "layers"
    diff_ids: list[Digest] = msgspec.field(default_factory=list)


#: Stands for one that is missing: an image may have no layers, but it says so.
_MISSING: Final = RootFS("missing")


class History(msgspec.Struct, omit_defaults=True):
    """How one layer, or one change without a layer, came about."""

    created: str | None = None
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class ImageConfig(msgspec.Struct, omit_defaults=True):
    """An image configuration: platform, container defaults, layers."""

    architecture: str = ""
    os: str = ""
    rootfs: RootFS = msgspec.field(default_factory=lambda: _MISSING)
    created: str | None = None
    author: str = ""
    variant: str = ""
    os_version: str = msgspec.field(name="os.version", default="")
    config: ContainerConfig | None = None
    history: list[History] | None = None
    docker_version: str = ""
    comment: str = ""
    parent: str = ""


def parse_config(data: bytes) -> ImageConfig:
    """Read an image configuration.

    :raises InvalidInput: it isn't one, or one of another kind of root file system than layers.
    """
    try:
        config = decode(data, ImageConfig, "image configuration")
    except InvalidInput:
        config = decode(_without_nulls(data), ImageConfig, "image configuration")
    if config.rootfs is _MISSING:
        raise InvalidInput("invalid image JSON, no RootFS key")  # dockerd's words
    if config.rootfs.type != "layers":
        raise InvalidInput(
            f"unsupported root file system type {config.rootfs.type!r}", hint="only 'layers' is supported"
        )
    return config


def _without_nulls(data: bytes) -> bytes:
    """The same without members that are null: to Go, which wrote most images, they are not set.

    :raises InvalidInput: it is no JSON.
    """
    found = decode(data, dict[str, Any], "image configuration")
    pending: list[Any] = [found]
    while pending:
        one = pending.pop()
        if isinstance(one, dict):
            for name in [name for name, value in one.items() if value is None]:
                del one[name]
        pending += one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
    return msgspec.json.encode(found)


def encode_config(config: ImageConfig) -> bytes:
    """Write an image configuration of ours."""
    return encode(config)
