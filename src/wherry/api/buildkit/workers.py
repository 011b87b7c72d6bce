"""What clients are told of the builder: one worker, with labels that clients know it by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wherry import __version__
from wherry.api.buildkit.proto import control_pb2 as pb
from wherry.api.buildkit.proto import llb_pb2

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from wherry.oci.platform import Platform

__all__ = ["Workers"]

#: BuildKit's version that the API is like; clients compare versions.
_LIKE: Final = "v0.26.0"
_DOCKERFILE: Final = "1.26.0"
_LABEL: Final = "org.mobyproject.buildkit.worker."


class Workers:
    """The one worker.

    :param platforms: what it builds for, its own first.
    :param gateway: the host's address, as steps reach it; empty: not known.
    :param devices: the whole names of devices that a step may ask for.
    """

    def __init__(
        self,
        platforms: Callable[[], Sequence[Platform]],
        gateway: Callable[[], str],
        devices: Callable[[], Awaitable[Sequence[str]]],
    ) -> None:
        self._devices = devices
        self._platforms = platforms
        self._gateway = gateway

    def version(self) -> pb.BuildkitVersion:
        """The builder's version."""
        return pb.BuildkitVersion(
            package="github.com/moby/buildkit",
            version=_LIKE,
            revision=f"wherry-{__version__}",
            dockerfileVersion=_DOCKERFILE,
        )

    async def records(self) -> list[pb.WorkerRecord]:
        """The worker; the label of a snapshotter means: there are OCI exporters, cache exporters, several platforms.

        No device may be used without the client's permission (``--allow device``), so none is allowed of itself.
        """
        labels = {_LABEL + "executor": "oci", _LABEL + "snapshotter": "overlayfs", _LABEL + "hostname": "wherry"}
        if gateway := self._gateway():
            labels[_LABEL + "moby.host-gateway-ip"] = gateway
        platforms = [
            llb_pb2.Platform(OS=one.os, Architecture=one.architecture, Variant=one.variant) for one in self._platforms()
        ]
        devices = [pb.CDIDevice(Name=name) for name in await self._devices()]
        return [
            pb.WorkerRecord(
                ID="wherry", Labels=labels, platforms=platforms, BuildkitVersion=self.version(), CDIDevices=devices
            )
        ]
