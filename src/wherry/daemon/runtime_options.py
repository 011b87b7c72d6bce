"""The options of ``wherryd`` about other OCI runtimes, as dockerd has them."""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING, Any, Final

from wherry.daemon.option import Option
from wherry.engine.settings import OciRuntime
from wherry.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["RUNTIME_OPTIONS", "default_runtime", "runtimes"]

RUNTIME_OPTIONS: Final = (
    Option(
        ("--add-runtime",),
        "",
        "list",
        "another OCI runtime, for containers that ask for it (repeatable)",
        "NAME=PATH",
    ),
    Option((), "runtimes", "object", "OCI runtimes by name: path, runtimeArgs"),
    Option(("--default-runtime",), "default-runtime", "text", "for containers that ask for none", "NAME"),
)
#: What is wherry's own runtime: clients name Docker's.
_RESERVED: Final = frozenset({"wherry", "runc", "io.containerd.runc.v2"})
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)


def runtimes(values: Mapping[str, Any]) -> dict[str, OciRuntime]:
    """The runtimes that flags and file add.

    :raises InvalidInput: a name is reserved, used twice, or none; or a runtime has no path.
    """
    found: dict[str, OciRuntime] = {}
    for text in values.get("add_runtime") or ():
        name, equals, path = text.partition("=")
        if not equals:
            raise InvalidInput(f"invalid runtime {text!r}: it must be NAME=PATH")
        _add(found, name, path, ())
    for name, described in (values.get("runtimes") or {}).items():
        entry = described if isinstance(described, dict) else {}
        path, arguments = entry.get("path"), entry.get("runtimeArgs") or []
        if not isinstance(path, str) or not _are_texts(arguments):
            cause = "wherry runs programs, and none of containerd's shims"
            raise InvalidInput(f'the runtime "{name}" needs a "path", and "runtimeArgs" that are texts', cause=cause)
        _add(found, name, path, tuple(arguments))
    return found


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _add(found: dict[str, OciRuntime], name: str, path: str, arguments: tuple[str, ...]) -> None:
    if name in _RESERVED:
        raise InvalidInput(f"runtime name '{name}' is reserved")
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"{name!r} is no name of a runtime")
    if name in found:
        raise InvalidInput(f"runtime '{name}' was already registered")
    if not path:
        raise InvalidInput(f"the runtime {name!r} has no path")
    # As in Docker, it need not be there yet: a container that asks for it is told.
    found[name] = OciRuntime(shutil.which(path) or os.path.abspath(path), arguments)


def default_runtime(values: Mapping[str, Any], known: Mapping[str, OciRuntime]) -> str:
    """The runtime of containers that name none.

    :raises InvalidInput: it was not added.
    """
    name: str = values.get("default_runtime") or "wherry"
    if name in _RESERVED:
        return "wherry"
    if name not in known:
        raise InvalidInput(f"specified default runtime '{name}' does not exist")
    return name
