"""The store of all containers, by ID, name or prefix of an ID; written through to the database."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from msgspec.structs import replace

from wherry.database.database import understanding
from wherry.docker.network_mode import named_links, without_link
from wherry.engine.container.container import Container, Definition
from wherry.engine.container.database import ContainerDatabase
from wherry.engine.container.log import ContainerLog
from wherry.engine.container.names import check_name, made_up_name
from wherry.engine.container.rows import definition_of, state_of
from wherry.engine.container.state import State
from wherry.engine.log_drivers.table import driver_of
from wherry.errors import Conflict, CorruptData, InvalidInput, NotFound

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ContainerStore"]

_SOON: Final = 0.005  # seconds: by then whoever wanted the start has the answer, and many have ended


class _Undecoded(NamedTuple):
    """A row that this version does not understand."""

    name: str
    definition: bytes


class AskKeeper(Protocol):
    """A request of the keeper that may come too late, which is no error."""

    def __call__(self, op: str, **fields: Any) -> Awaitable[None]: ...


@lru_cache(maxsize=128)
def _below(directory: Path, name: str) -> Path:
    """A start asks for the same two thirty times."""
    return directory / name


class _Home(NamedTuple):
    """Where all containers of an engine are, and whom it asks about their logs."""

    data: Path
    run: Path
    ask_keeper: AskKeeper

    def directory_of(self, container: Container) -> Path:
        return _below(self.data, container.id)

    def run_directory_of(self, container: Container) -> Path:
        return _below(self.run, container.id)

    def log_of(self, container: Container) -> ContainerLog:
        spool = driver_of(container.host.log_config).is_spool
        directory = container.run_directory if spool else container.directory
        return ContainerLog(directory / "logs", partial(self.ask_keeper, key=container.id))


class ContainerStore:
    """All containers of this engine.

    :param data_root: where their directories are, below ``containers/``.
    :param exec_root: the same for what does not outlive a reboot.
    :param ask_keeper: requests of the keeper about a container's log, with the container's ID as ``key``.
    """

    def __init__(self, database: ContainerDatabase, data_root: Path, exec_root: Path, ask_keeper: AskKeeper) -> None:
        self._database = database
        self._home = _Home(data_root / "containers", exec_root / "containers", ask_keeper)
        self._by_id: dict[str, Container] = {}
        self._by_name: dict[str, Container] = {}
        self._reserved: set[str] = set()
        self._undecoded: dict[str, _Undecoded] = {}
        self._unsaved: dict[str, tuple[asyncio.TimerHandle, Container]] = {}

    def __iter__(self) -> Iterator[Container]:
        return iter(list(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

    def load(self) -> None:
        """Read all rows. One that this version does not understand is kept as it is, and logged."""
        for identifier, name, definition, state in self._database.rows():
            undecoded = _Undecoded(name, definition)
            with understanding("a container", identifier, partial(self._undecoded.__setitem__, identifier, undecoded)):
                container = Container(name, definition_of(definition), state_of(state), self._home)
                _check_identity(container, identifier)
                self._by_id[container.id] = self._by_name[name] = container

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
        for identifier, undecoded in self._undecoded.items():
            if undecoded.name == name:
                raise _name_conflict(name, identifier)
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
        self._database.set_definition(container.id, name, container.encoded_definition())
        del self._by_name[container.name]
        container.name = name
        self._by_name[name] = container
        return name

    def unlink(self, container: Container, alias: str) -> None:
        """A container links no more to what it calls so.

        :raises OutOfSpace: the disk is full; the link stays.
        """
        former = container.host
        container.definition.host = replace(former, links=without_link(former, alias) or None)
        try:
            self.save_definition(container)
        except BaseException:
            container.definition.host = former
            raise

    # --- containers -------------------------------------------------------------------------------

    def add(self, name: str, definition: Definition) -> Container:
        """Make a container of a reserved name known, and durable."""
        container = Container(name, definition, State(), self._home)
        encoded = container.encoded_definition()
        self._database.insert(container.id, name, encoded, container.encoded_state())
        container.definition = definition_of(encoded)
        self._reserved.discard(name)
        self._by_id[container.id] = self._by_name[name] = container
        return container

    def save_state_soon(self, container: Container) -> None:
        """Write a container's state in a few milliseconds, with what has become of it by then.

        For what the keeper knows, too: after a crash it is asked first.
        """
        if container.id not in self._unsaved:
            timer = asyncio.get_running_loop().call_later(_SOON, self.save_state, container)
            self._unsaved[container.id] = timer, container

    def save_unsaved(self) -> None:
        """Write now what was to be written soon."""
        for _, container in tuple(self._unsaved.values()):
            self.save_state(container)

    def _is_saved(self, container: Container) -> None:
        timer, _ = self._unsaved.pop(container.id, (None, container))
        if timer is not None:
            timer.cancel()

    def save_state(self, container: Container) -> None:
        """Write a container's state to the database; on a full disk, when there is room again."""
        self._is_saved(container)
        self._database.set_state(container.id, container.encoded_state())

    def note_definition(self, container: Container) -> None:
        """Write down a change that has happened; on a full disk, when there is room again."""
        self._database.note_definition(container.id, container.name, container.encoded_definition())

    def save_definition(self, container: Container) -> None:
        """Write a container's definition to the database.

        :raises OutOfSpace: the disk is full; what is written there is as before.
        """
        self._database.set_definition(container.id, container.name, container.encoded_definition())

    def forget(self, container: Container) -> None:
        """Remove a container from memory and database."""
        self._database.delete(container.id)
        self._is_saved(container)
        self._by_id.pop(container.id, None)
        if self._by_name.get(container.name) is container:
            del self._by_name[container.name]

    def get(self, ref: str) -> Container:
        """The container with this ID or name, the one that a link calls so, or the only one whose ID begins so.

        :raises NotFound: there is none.
        :raises InvalidInput: several IDs begin so.
        """
        name = ref.removeprefix("/")
        found = self._by_id.get(ref) or self._by_name.get(name) or self._linked(name)
        if found is not None:
            return found
        beginning = [container for identifier, container in self._by_id.items() if ref and identifier.startswith(ref)]
        if len(beginning) > 1:
            raise InvalidInput(f"multiple IDs found with provided prefix: {ref}")
        if not beginning:
            raise NotFound(f"No such container: {ref}")
        return beginning[0]

    def _linked(self, name: str) -> Container | None:
        """The container that another one's link calls so: ``web/db`` is what ``web`` links to as ``db``."""
        holder, slash, alias = name.partition("/")
        if not slash or (container := self._by_name.get(holder)) is None:
            return None
        return self._by_id.get(named_links(container.host).get(alias, ""))

    def names(self) -> dict[str, list[str]]:
        """All names that containers have, by ID, where links give some: those and its own, with slashes; sorted."""
        found: defaultdict[str, list[str]] = defaultdict(list)
        for container in self._by_id.values():
            if container.definition.host.links:
                for alias, identifier in named_links(container.host).items():
                    found[identifier].append(f"/{container.name}/{alias}")
        return {
            identifier: sorted([f"/{self._by_id[identifier].name}", *names])
            for identifier, names in found.items()
            if identifier in self._by_id
        }

    def find(self, identifier: str) -> Container | None:
        """The container with exactly this ID, if there is one."""
        return self._by_id.get(identifier)

    def has_row(self, identifier: str) -> bool:
        """Whether the database has a container of this ID, be it one that this version does not understand."""
        return identifier in self._by_id or identifier in self._undecoded

    def users_of(self, image: str) -> list[str]:
        """The IDs of the containers that stand on an image, by its ID, those that are not understood included."""
        users = [identifier for identifier, one in self._by_id.items() if image in _images_of(one)]
        return users + self._undecoded_users(image)

    def users_by_image(self) -> Callable[[str], list[str]]:
        """`users_of` as it is now, for who asks about many images: thousands of containers are looked through once."""
        found: defaultdict[str, list[str]] = defaultdict(list)
        for identifier, container in self._by_id.items():
            for image in _images_of(container):
                found[image].append(identifier)
        return lambda image: found.get(image, []) + self._undecoded_users(image)

    def _undecoded_users(self, image: str) -> list[str]:
        return [identifier for identifier, row in self._undecoded.items() if image.encode() in row.definition]


def _images_of(container: Container) -> set[str]:
    """The IDs of the images that a container needs, for its root or for a mount."""
    definition = container.definition
    return {definition.image_id, *(point.source for point in definition.mounts if point.kind == "image")}


def _check_identity(container: Container, identifier: str) -> None:
    if container.id != identifier:
        raise CorruptData(f"the row's definition is that of another container, {container.id}")


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
