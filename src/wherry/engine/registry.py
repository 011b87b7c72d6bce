"""Which containers there are: found by ID, name or the beginning of an ID; kept in step with the database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from wherry.engine.container import Container, Definition
from wherry.engine.database import Database
from wherry.engine.names import check_name, made_up_name
from wherry.engine.state import State
from wherry.errors import Conflict, CorruptData, InvalidInput, NotFound

__all__ = ["Registry"]


class Registry:
    """All containers of this engine.

    :param data_root: where their directories are, below ``containers/``.
    :param exec_root: the same for what does not outlive a reboot.
    """

    def __init__(self, database: Database, data_root: Path, exec_root: Path) -> None:
        self._database = database
        self._data = data_root / "containers"
        self._run = exec_root / "containers"
        self._by_id: dict[str, Container] = {}
        self._by_name: dict[str, Container] = {}
        self._reserved: set[str] = set()

    def __iter__(self) -> Iterator[Container]:
        return iter(list(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

    def load(self) -> None:
        """Read all rows.

        :raises CorruptData: a row cannot be decoded.
        """
        for identifier, name, definition, state in self._database.rows():
            try:
                container = self._build(
                    name, msgspec.json.decode(definition, type=Definition), msgspec.json.decode(state, type=State)
                )
            except msgspec.MsgspecError as exc:
                raise CorruptData(f"the database's row of container {identifier} is damaged", cause=str(exc)) from exc
            self._by_id[identifier] = self._by_name[name] = container

    def _build(self, name: str, definition: Definition, state: State) -> Container:
        return Container(name, definition, state, self._data / definition.id, self._run / definition.id)

    # --- names ------------------------------------------------------------------------------------

    def reserve_name(self, wanted: str | None) -> str:
        """Take a name, or make one up; it is given back by `release_name` or becomes a container's by `add`.

        :raises InvalidInput: Docker would not allow it.
        :raises Conflict: another container has it.
        """
        name = check_name(wanted) if wanted else made_up_name({*self._by_name, *self._reserved})
        self._check_free(name)
        self._reserved.add(name)
        return name

    def _check_free(self, name: str) -> None:
        if name in self._by_name:
            raise _name_conflict(name, self._by_name[name].id)
        if name in self._reserved:
            raise _name_conflict(name, "being created")

    def release_name(self, name: str) -> None:
        """Give a reserved name back."""
        self._reserved.discard(name)

    def rename(self, container: Container, wanted: str) -> str:
        """Give a container another name; returns the name that it has now.

        :raises InvalidInput: Docker would not allow it, or it is the one that it has.
        :raises Conflict: another container has it.
        """
        if not wanted:
            raise InvalidInput("Neither old nor new names may be empty")
        try:
            name = _checked(wanted)
            if name == container.name:
                raise InvalidInput("Renaming a container with the same name as its current name")
            self._check_free(name)
        except Conflict as exc:
            raise Conflict("Error when allocating new name", cause=exc.message) from exc
        del self._by_name[container.name]
        container.name = name
        self._by_name[name] = container
        self._database.set_definition(container.id, name, container.encoded_definition())
        return name

    # --- containers -------------------------------------------------------------------------------

    def add(self, name: str, definition: Definition) -> Container:
        """Make a container of a reserved name known, and durable."""
        container = self._build(name, definition, State())
        self._database.insert(container.id, name, container.encoded_definition(), container.encoded_state())
        self._reserved.discard(name)
        self._by_id[container.id] = self._by_name[name] = container
        return container

    def save_state(self, container: Container) -> None:
        """Write a container's state to the database."""
        self._database.set_state(container.id, container.encoded_state())

    def save_definition(self, container: Container) -> None:
        """Write a container's definition to the database."""
        self._database.set_definition(container.id, container.name, container.encoded_definition())

    def forget(self, container: Container) -> None:
        """Remove a container from memory and database."""
        self._database.delete(container.id)
        self._by_id.pop(container.id, None)
        if self._by_name.get(container.name) is container:
            del self._by_name[container.name]

    def get(self, ref: str) -> Container:
        """The container with this ID or name, or the only one whose ID begins so.

        :raises NotFound: there is none.
        :raises InvalidInput: several IDs begin so.
        """
        found = self._by_id.get(ref) or self._by_name.get(ref.removeprefix("/"))
        if found is not None:
            return found
        beginning = [container for identifier, container in self._by_id.items() if ref and identifier.startswith(ref)]
        if len(beginning) > 1:
            raise InvalidInput(f"multiple IDs found with provided prefix: {ref}")
        if not beginning:
            raise NotFound(f"No such container: {ref}")
        return beginning[0]

    def find(self, identifier: str) -> Container | None:
        """The container with exactly this ID, if there is one."""
        return self._by_id.get(identifier)


def _name_conflict(name: str, holder: str) -> Conflict:
    return Conflict(
        f'Conflict. The container name "/{name}" is already in use by container "{holder}". '
        "You have to remove (or rename) that container to be able to reuse that name."
    )


def _checked(wanted: str) -> str:
    try:
        return check_name(f"/{wanted.removeprefix('/')}")
    except InvalidInput as exc:
        raise InvalidInput("Error when allocating new name", cause=exc.message) from exc
