"""Which devices there are: all specifications of some directories."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from wherry.engine.cdi.names import is_qualified, shown
from wherry.engine.cdi.specs import ContainerEdits, Specification, read
from wherry.errors import SystemFault, WherryError

__all__ = ["Registry", "load"]

_log: Final = logging.getLogger(__name__)
_SUFFIXES: Final = (".json", ".yaml")


@dataclass
class Registry:
    """The devices of a machine.

    :param devices: by whole names, in order.
    :param problems: sentences about files that are left out, and names that several files claim.
    """

    devices: dict[str, tuple[Specification, ContainerEdits]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def has_kind(self, kind: str) -> bool:
        """Whether there is any device of a vendor's class."""
        return any(name.startswith(f"{kind}=") for name in self.devices)

    def edits(self, names: Sequence[str]) -> list[ContainerEdits]:
        """What a container gets with devices: what is for any of a file's devices comes once, and first.

        :raises SystemFault: there are no such devices; in Docker's words, and with its status.
        """
        missing = [name for name in dict.fromkeys(names) if not is_qualified(name) or name not in self.devices]
        if missing:
            for problem in self.problems:
                _log.warning("a device specification was left out problem=%s", problem)
            raise SystemFault(f"CDI device injection failed: unresolvable CDI devices {shown(missing)}")
        found: list[ContainerEdits] = []
        seen: set[int] = set()
        for name in dict.fromkeys(names):
            spec, own = self.devices[name]
            if id(spec) not in seen:
                seen.add(id(spec))
                found.append(spec.container_edits)
            found.append(own)
        return found


def load(directories: Sequence[str]) -> Registry:
    """Read all specifications; those of a later directory win. To be called in a thread.

    Two files of one directory that claim one name make it nobody's.
    """
    registry = Registry()
    for directory in directories:
        _load_directory(Path(directory), registry)
    registry.devices = dict(sorted(registry.devices.items()))
    return registry


def _load_directory(directory: Path, registry: Registry) -> None:
    try:
        paths = sorted(path for path in directory.iterdir() if path.suffix in _SUFFIXES)
    except FileNotFoundError:
        return
    except OSError as exc:
        registry.problems.append(f"{directory}: {(exc.strerror or str(exc)).lower()}")
        return
    owners: dict[str, list[Path]] = {}
    for path in paths:
        try:
            spec = read(path)
        except WherryError as exc:
            registry.problems.append(f"{path}: {exc}")
            continue
        except OSError as exc:
            registry.problems.append(f"{path}: {(exc.strerror or str(exc)).lower()}")
            continue
        for device in spec.devices:
            name = f"{spec.kind}={device.name}"
            owners.setdefault(name, []).append(path)
            registry.devices[name] = (spec, device.container_edits)
    for name, claimed in owners.items():
        if len(claimed) > 1:
            del registry.devices[name]
            files = ", ".join(f'"{path}"' for path in claimed)
            registry.problems.append(f'conflicting device "{name}" (specs {files})')
