"""A container as one row of a table."""

from __future__ import annotations

from wherry import legible
from wherry.cli.console import printable
from wherry.cli.output.times import ago, ellipsis, local_time
from wherry.docker.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

__all__ = ["container_row", "ports_text", "quoted"]

_QUOTED = {
    '"': '\\"',
    "\\": "\\\\",
    "\n": "\\n",
    "\t": "\\t",
    "\r": "\\r",
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\v": "\\v",
}
COMMAND_WIDTH = 20
MOUNT_WIDTH = 15


def quoted(text: str) -> legible.Legible:
    """A text in double quotes, as Go quotes it (``strconv.Quote``)."""
    return legible.Legible(f'"{"".join(_QUOTED.get(letter) or printable(letter) for letter in text)}"')


def container_row(one: dict[str, Any], *, short: bool) -> dict[str, Any]:
    """Make a row of one of the API's container summaries.

    :param short: truncate.
    """
    labels = one.get("Labels") or {}
    command = ellipsis(one["Command"], COMMAND_WIDTH) if short else one["Command"]
    mounts = [mount.get("Name") or mount.get("Source") or "" for mount in one.get("Mounts") or ()]
    return {
        "ID": one["Id"][:12] if short else one["Id"],
        "Image": _image(one, short=short),
        "Command": quoted(command),
        "CreatedAt": local_time(one["Created"]),
        "RunningFor": ago(one["Created"]),
        "Labels": ",".join(f"{key}={value}" for key, value in sorted(labels.items())),
        "LocalVolumes": str(sum(mount.get("Driver") == "local" for mount in one.get("Mounts") or ())),
        "Mounts": ",".join(ellipsis(mount, MOUNT_WIDTH) if short else mount for mount in mounts),
        "Names": _names(one["Names"], short=short),
        "Networks": ",".join((one.get("NetworkSettings") or {}).get("Networks") or ()),
        "Platform": _platform(one.get("ImageManifestDescriptor") or {}),
        "Ports": ports_text(one.get("Ports") or ()),
        "Size": _size(one),
        "State": one.get("State", ""),
        "Status": one.get("Status", ""),
        "Label": lambda name: labels.get(name, ""),
    }


def _platform(descriptor: dict[str, Any]) -> str | None:
    platform = descriptor.get("platform")
    if not platform:
        return None
    parts = [platform.get("os"), platform.get("architecture"), platform.get("variant")]
    return "/".join(part for part in parts if part)


def _names(names: Iterable[str], *, short: bool) -> str:
    """The names without their leading slash; names from links (``/a/b``) only with ``--no-trunc``."""
    plain = [name.removeprefix("/") for name in names]
    if short:
        plain = [name for name in plain if "/" not in name]
    return ",".join(plain)


def _image(one: dict[str, Any], *, short: bool) -> str:
    image = str(one.get("Image") or "<no image>")
    if not short:
        return image
    identifier = str(one.get("ImageID", ""))
    if image == identifier:
        return image.removeprefix("sha256:")[:12]
    name, at, _ = image.partition("@")
    return name if at else image


def _size(one: dict[str, Any]) -> str:
    written, whole = one.get("SizeRw", 0) or 0, one.get("SizeRootFs", 0) or 0
    text = human_size(written)
    return f"{text} (virtual {human_size(whole)})" if whole > 0 else text


def ports_text(ports: Iterable[dict[str, Any]]) -> str:
    """``0.0.0.0:8080->80/tcp, 443/tcp``; adjacent ports are one range."""
    groups: dict[tuple[str, str, bool], list[tuple[int, int]]] = {}
    singles: list[str] = []
    for port in sorted(ports, key=_port_order):
        private, public = int(port["PrivatePort"]), int(port.get("PublicPort") or 0)
        kind, address = port.get("Type", "tcp"), port.get("IP", "")
        if public and public != private:
            singles.append(f"{_host(address)}:{public}->{private}/{kind}")
        else:
            groups.setdefault((address, kind, bool(public)), []).append((private, public))
    ranges = [text for key, pairs in groups.items() for text in _ranges(key, [pair[0] for pair in pairs])]
    return ", ".join([*ranges, *singles])


def _port_order(port: dict[str, Any]) -> tuple[int, str, int, str]:
    return int(port["PrivatePort"]), port.get("IP", ""), int(port.get("PublicPort") or 0), port.get("Type", "tcp")


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _ranges(key: tuple[str, str, bool], numbers: list[int]) -> Iterable[str]:
    address, kind, published = key
    begin = last = numbers[0]
    for number in [*numbers[1:], -1]:
        if number == last + 1:
            last = number
            continue
        text = str(begin) if begin == last else f"{begin}-{last}"
        yield f"{_host(address)}:{text}->{text}/{kind}" if published else f"{text}/{kind}"
        begin = last = number
