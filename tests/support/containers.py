"""Containers for tests that need no engine around them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wherry.engine.container.container import Container, Definition, OwnHome
from wherry.engine.container.log import ContainerLog
from wherry.engine.container.state import State

__all__ = ["container_of", "nobody_asked"]


async def nobody_asked(op: str, **fields: Any) -> None:
    """Takes the keeper's place where it is to be asked nothing."""
    raise AssertionError(f"the keeper is asked to {op}")


def container_of(
    name: str, definition: Definition, state: State, directory: Path, run_directory: Path, **members: Any
) -> Container:
    """A container whose log nobody writes."""
    home = OwnHome(directory, run_directory, ContainerLog(directory / "logs", nobody_asked))
    container = Container(name, definition, state, home)
    for member, value in members.items():
        setattr(container, member, value)
    return container
