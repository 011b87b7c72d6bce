"""The options of ``wherryd`` about devices by name and the size of writable layers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from wherry.daemon.option import Option
from wherry.docker.units import parse_size
from wherry.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["DEVICE_OPTIONS", "cdi_spec_dirs", "storage_size"]

DEVICE_OPTIONS: Final = (
    Option(
        ("--cdi-spec-dir",),
        "cdi-spec-dirs",
        "list",
        "specifications of devices (repeatable; default /etc/cdi and /var/run/cdi)",
        "DIR",
    ),
    Option(
        ("--storage-opt",),
        "storage-opts",
        "list",
        "overlay2.size=SIZE of writable layers, where there are project quotas (repeatable)",
        "OPTION",
    ),
)
_DRIVER: Final = "overlay2."


def cdi_spec_dirs(values: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Where specifications of devices are; none with an empty name, or where the feature ``cdi`` is switched off.

    :returns: None if nothing is said about it.
    """
    if (values.get("features") or {}).get("cdi") is False:
        return ()
    given = values.get("cdi_spec_dir")
    return None if given is None else tuple(str(Path(text).absolute()) for text in given if text)


def storage_size(texts: Sequence[str]) -> int | None:
    """The size among options of storage drivers, in bytes; those of other drivers than overlay2 are passed over.

    :raises InvalidInput: overlay2 has no such option, or that is no size.
    """
    found = None
    for text in texts:
        name, _, value = text.partition("=")
        option = name.lower().removeprefix(_DRIVER)
        if option == "size":
            try:
                found = parse_size(value.strip())
            except ValueError as exc:
                raise InvalidInput(f"invalid size: '{value}'") from exc
        elif name.lower().startswith(_DRIVER) and option != "override_kernel_check":  # there is nothing to be checked
            raise InvalidInput(f"overlay2: unknown option {name}")
    return found
