"""``--mount``, ``--volume`` and ``--tmpfs``."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

__all__ = ["csv_fields", "mount", "split_volumes", "tmpfs"]

_WITHOUT_VALUE = ("readonly", "ro", "volume-nocopy", "bind-nonrecursive")
_OPTIONS_OF = {"bind": "bind", "volume": "volume", "tmpfs": "tmpfs", "image": "image"}


def csv_fields(text: str) -> list[str]:
    """Split a list at its commas; a field with a comma is quoted, as in CSV (RFC 4180).

    :raises ValueError: a quote is left open.
    """
    if '"' not in text:
        return text.split(",")
    import csv

    try:
        return next(csv.reader([text], strict=True))
    except (csv.Error, StopIteration) as error:
        raise ValueError(f"bad quoting: {error}") from None


def _truth(key: str, value: str) -> bool:
    if value in ("1", "t", "T", "TRUE", "true", "True"):
        return True
    if value in ("0", "f", "F", "FALSE", "false", "False"):
        return False
    raise ValueError(f"invalid value for {key}: {value}")


def mount(text: str) -> dict[str, Any]:
    """Read one ``--mount``: ``type=bind,src=/a,dst=/b,readonly``.

    :returns: the API's Mount.
    :raises ValueError: a field is unknown, or does not belong to the type.
    """
    result: dict[str, Any] = {"Type": "volume"}
    options: dict[str, dict[str, Any]] = {"bind": {}, "volume": {}, "tmpfs": {}, "image": {}}
    for field in csv_fields(text):
        key, equals, value = field.partition("=")
        if not equals and key.strip().lower() not in _WITHOUT_VALUE:
            raise ValueError(f"invalid field '{field}' must be a key=value pair")
        _take(result, options, key.strip().lower(), value if equals else "true", field)
    _check(result, options)
    for kind, name in (("bind", "Bind"), ("volume", "Volume"), ("image", "Image"), ("tmpfs", "Tmpfs")):
        if options[kind]:
            result[f"{name}Options"] = options[kind]
    return result


def _take(result: dict[str, Any], options: dict[str, dict[str, Any]], key: str, value: str, field: str) -> None:
    plain = _PLAIN.get(key)
    if plain:
        result[plain] = value.lower() if plain == "Type" else value
        return
    if key in ("readonly", "ro"):
        if _truth(key, value):
            result["ReadOnly"] = True
        return
    reader = _READERS.get(key)
    if reader is None:
        raise ValueError(f"unknown option '{key}' in '{field}'")
    reader(options[_OPTIONS_OF[key.partition("-")[0]]], key, value)


def _check(result: dict[str, Any], options: dict[str, dict[str, Any]]) -> None:
    kind = result["Type"]
    if not result.get("Target"):
        raise ValueError("target is required")
    for other, values in options.items():
        if values and other != kind:
            raise ValueError(f"cannot mix '{other}-*' options with mount type '{kind}'")
    if kind == "bind" and result.get("Source", "").startswith("."):
        result["Source"] = os.path.abspath(result["Source"])
    if options["bind"].get("ReadOnlyForceRecursive"):
        if not result.get("ReadOnly"):
            raise ValueError("option 'bind-recursive=readonly' requires 'readonly' to be specified in conjunction")
        if options["bind"].get("Propagation") != "rprivate":
            raise ValueError(
                "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction"
            )


def _propagation(options: dict[str, Any], _key: str, value: str) -> None:
    options["Propagation"] = value.lower()


def _nonrecursive(options: dict[str, Any], key: str, value: str) -> None:
    if _truth(key, value):
        options["NonRecursive"] = True


def _recursive(options: dict[str, Any], key: str, value: str) -> None:
    names = {"disabled": "NonRecursive", "writable": "ReadOnlyNonRecursive", "readonly": "ReadOnlyForceRecursive"}
    if value in names:
        options[names[value]] = True
    elif value != "enabled":
        raise ValueError(f'invalid value for {key}: {value} (must be "enabled", "disabled", "writable", or "readonly")')


def _create_source(options: dict[str, Any], key: str, value: str) -> None:
    if _truth(key, value):
        options["CreateMountpoint"] = True


def _nocopy(options: dict[str, Any], key: str, value: str) -> None:
    if _truth(key, value):
        options["NoCopy"] = True


def _label(options: dict[str, Any], _key: str, value: str) -> None:
    name, _, text = value.partition("=")
    options.setdefault("Labels", {})[name] = text


def _driver(options: dict[str, Any], _key: str, value: str) -> None:
    options.setdefault("DriverConfig", {})["Name"] = value


def _driver_option(options: dict[str, Any], _key: str, value: str) -> None:
    name, _, text = value.partition("=")
    options.setdefault("DriverConfig", {}).setdefault("Options", {})[name] = text


def _subpath(options: dict[str, Any], _key: str, value: str) -> None:
    options["Subpath"] = value


def _tmpfs_size(options: dict[str, Any], key: str, value: str) -> None:
    from wherry.docker.units import parse_size

    try:
        options["SizeBytes"] = parse_size(value)
    except ValueError:
        raise ValueError(f"invalid value for {key}: {value}") from None


def _tmpfs_mode(options: dict[str, Any], key: str, value: str) -> None:
    try:
        options["Mode"] = int(value, 8)
    except ValueError:
        raise ValueError(f"invalid value for {key}: {value}") from None


_PLAIN = {
    "type": "Type",
    "source": "Source",
    "src": "Source",
    "target": "Target",
    "dst": "Target",
    "destination": "Target",
    "consistency": "Consistency",
}
_READERS: dict[str, Callable[[dict[str, Any], str, str], None]] = {
    "bind-propagation": _propagation,
    "bind-nonrecursive": _nonrecursive,
    "bind-recursive": _recursive,
    "bind-create-src": _create_source,
    "volume-nocopy": _nocopy,
    "volume-label": _label,
    "volume-driver": _driver,
    "volume-opt": _driver_option,
    "volume-subpath": _subpath,
    "image-subpath": _subpath,
    "tmpfs-size": _tmpfs_size,
    "tmpfs-mode": _tmpfs_mode,
}


def split_volumes(volumes: Iterable[str]) -> tuple[list[str], dict[str, dict[str, str]]]:
    """Sort ``--volume`` values: ``source:target[:options]`` is a bind, a lone path an anonymous volume.

    A source that begins with a dot is relative to the working directory.

    :raises wherry.errors.InvalidInput: a value is empty.
    """
    binds: list[str] = []
    anonymous: dict[str, dict[str, str]] = {}
    for volume in volumes:
        source, colon, rest = volume.partition(":")
        if not volume:
            from wherry.errors import InvalidInput

            raise InvalidInput("invalid empty volume spec")
        if not colon:
            anonymous[volume] = {}
        elif source.startswith("."):
            binds.append(f"{os.path.abspath(source)}:{rest}")
        else:
            binds.append(volume)
    return binds, anonymous


def tmpfs(values: Iterable[str]) -> dict[str, str]:
    """Read ``--tmpfs`` values: ``/path[:options]``."""
    result = {}
    for value in values:
        path, _, options = value.partition(":")
        result[path] = options
    return result
