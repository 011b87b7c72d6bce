"""From what a caller asks for (``--device vendor/class=name``, ``--gpus``, ``RUN --device``) to names of devices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from wherry.docker.container_requests import DeviceRequest
from wherry.engine.cdi.names import is_kind, shown
from wherry.engine.cdi.registry import Registry
from wherry.errors import InvalidInput, SystemFault

__all__ = ["OF_A_BUILD", "names_of"]

OF_A_BUILD: Final = "wherry.build"
"""The driver of a step's request: names in BuildKit's words, of which those with a ``?`` at the end may be absent."""
_GPU_KINDS: Final = ("nvidia.com/gpu", "amd.com/gpu")


def names_of(requests: Sequence[DeviceRequest], registry: Registry) -> list[str]:
    """The whole names of all devices that are asked for.

    :raises InvalidInput: a request has what does not belong there; in Docker's words.
    :raises SystemFault: there is no driver for a request; in Docker's words.
    """
    found: list[str] = []
    for request in requests:
        if request.driver == "cdi":
            found += _by_name(request)
        elif request.driver == OF_A_BUILD:
            found += [name for text in request.device_ids or [] for name in _of_a_build(text, registry)]
        else:
            found += _gpus(request, registry)
    return found


def _by_name(request: DeviceRequest) -> list[str]:
    if request.count:
        raise InvalidInput("unexpected count in CDI device request")
    if request.options:
        raise InvalidInput("unexpected options in CDI device request")
    return list(request.device_ids or [])


def _gpus(request: DeviceRequest, registry: Registry) -> list[str]:
    """GPUs by number: those of the first vendor that has any here."""
    vendor = next((kind for kind in _GPU_KINDS if registry.has_kind(kind)), None)
    wanted = any("gpu" in group for group in request.capabilities or [])
    if vendor is None or not wanted or (request.driver or "") not in ("", vendor.partition(".")[0]):
        groups = "[" + " ".join(f"[{' '.join(group)}]" for group in request.capabilities or []) + "]"
        raise SystemFault(f'could not select device driver "{request.driver or ""}" with capabilities: {groups}')
    count = request.count or 0
    if request.device_ids:
        if count:
            raise InvalidInput("cannot set both Count and DeviceIDs on device request")
        return [name if "=" in name else f"{vendor}={name}" for name in request.device_ids]
    if count < 0:
        return [f"{vendor}=all"]
    if count > len(registry.devices):
        raise SystemFault(f"CDI device injection failed: there are no {count} devices of {vendor}")
    return [f"{vendor}={number}" for number in range(count)]


def _of_a_build(text: str, registry: Registry) -> list[str]:
    """A device, all of a class (``vendor.com/class=*``), or any (``vendor.com/class``)."""
    name = text.removesuffix("?")
    kind, _, device = name.partition("=")
    if device and device != "*":
        found = [name] if name in registry.devices else []
    else:
        found = [one for one in registry.devices if is_kind(kind) and one.startswith(f"{kind}=")]
        found = found if device == "*" else found[:1]
    if not found and name == text:
        raise InvalidInput(f'required device "{shown([name])}" is not registered')
    return found
