"""A file operation, from its inputs to its outputs.

Actions that go on where the one before ended share a draft and its mount: a COPY of a hundred sources is one layer,
mounted once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from wherry.build.files.actions import make_directory, make_file, make_link, remove
from wherry.build.files.copier import Copier, Looks
from wherry.build.files.copying import copy
from wherry.build.files.owners import Ids, ids_of
from wherry.build.files.rooted import locate
from wherry.build.files.roots import DraftRoot, is_local, open_root
from wherry.build.model.graph import (
    NO_INPUT,
    NO_OUTPUT,
    Copy,
    FileAction,
    FileOp,
    MakeDirectory,
    MakeFile,
    Remove,
    Symlink,
)
from wherry.build.model.snapshot import EMPTY, Snapshot
from wherry.build.snapshots.draft import Draft
from wherry.build.snapshots.mounts import mount_draft
from wherry.build.snapshots.store import SnapshotStore
from wherry.content.durable import disk_errors
from wherry.errors import InvalidInput
from wherry.linux.fd import Fd

__all__ = ["Evaluation", "copy_all", "own"]

Check = Callable[[], object]


@dataclass
class _Open:
    """A draft that actions work in.

    :ivar result: the number of the action that worked in it last.
    """

    draft: Draft
    root: DraftRoot
    result: int = -1


class Evaluation:
    """One file operation.

    :param check: called for each file: raises where the work is not wanted any more.
    """

    def __init__(
        self,
        store: SnapshotStore,
        op: FileOp,
        inputs: Sequence[Snapshot],
        check: Check = lambda: None,
    ) -> None:
        self._store = store
        self._op = op
        self._inputs = inputs
        self._check = check
        self._results: list[Snapshot | None] = []  # of actions; None: it is in the draft that is open, or was
        self._open: _Open | None = None
        self._roots = ExitStack()
        self._mounted: dict[Snapshot, Fd] = {}
        self._made: list[Snapshot] = []
        self._sources = {action.secondary for action in op.actions}
        self._users: dict[int, list[int]] = {}  # the actions that need an input or a result
        for at, action in enumerate(op.actions):
            for number in (action.input, *_owner_inputs(action)):
                self._users.setdefault(number, []).append(at)

    def run(self) -> tuple[Snapshot, ...]:
        """Carry it out; returns the outputs in their order.

        :raises InvalidInput: the operation makes no sense, or something is in the way.
        :raises NotFound: a source is missing.
        """
        try:
            with disk_errors("change files"):
                for position in range(len(self._op.actions)):
                    self._check()
                    self._act(position)
                self._commit()
            outputs = self._outputs()
        except BaseException:
            self._undo()
            raise
        else:
            self._forget(but=[*self._inputs, *outputs])
            return outputs
        finally:
            self._mounted.clear()
            self._roots.close()

    def _outputs(self) -> tuple[Snapshot, ...]:
        found: dict[int, Snapshot] = {}
        for action, result in zip(self._op.actions, self._results, strict=True):
            if action.output != NO_OUTPUT:
                assert result is not None
                found[action.output] = result
        if sorted(found) != list(range(len(found))):
            raise InvalidInput("a file operation's outputs are not numbered one after the other")
        return tuple(found[number] for number in range(len(found)))

    def _undo(self) -> None:
        if self._open is not None:
            self._open.root.close()
            self._store.discard(self._open.draft)
        self._forget(but=self._inputs)

    def _forget(self, but: Sequence[Snapshot]) -> None:
        """Remove layers that were made, and are in none of some snapshots."""
        wanted = {layer.number for snapshot in but for layer in snapshot.layers}
        made = {layer.number for snapshot in self._made for layer in snapshot.layers}
        self._store.remove(made - wanted)

    # --- actions ----------------------------------------------------------------------------------

    def _act(self, position: int) -> None:
        action = self._op.actions[position]
        draft = self._draft(position, action)
        root, owner = draft.root, self._owner(action)
        match action.action:
            case Copy():
                source = self._source(action)
                copy(source, root, action.action, owner, self._check)
            case MakeFile():
                make_file(root.fileno(), action.action, owner)
            case MakeDirectory():
                make_directory(root.fileno(), action.action, owner)
            case Symlink():
                make_link(root.fileno(), action.action, owner)
            case Remove():
                remove(root.fileno(), action.action)
        draft.result = position
        self._results.append(None)
        if self._is_needed(position):
            self._commit()

    def _draft(self, position: int, action: FileAction) -> _Open:
        """The draft that an action works in: the one that is open, where it goes on from there."""
        if self._open is not None and action.input - len(self._inputs) == self._open.result:
            return self._open
        self._commit()
        given = self._snapshot(action.input)
        base = own(self._store, given, self._check)
        if base is not given:
            self._made.append(base)
        draft = self._store.draft(base)
        try:
            self._open = _Open(draft, DraftRoot(draft))
        except BaseException:
            self._store.discard(draft)
            raise
        return self._open

    def _is_needed(self, position: int) -> bool:
        """Whether the result of an action is needed as it is: as an output, or by another than the next action."""
        if self._op.actions[position].output != NO_OUTPUT:
            return True
        number = position + len(self._inputs)
        return number in self._sources or any(at != position + 1 for at in self._users.get(number, ()))

    def _commit(self) -> None:
        if self._open is None:
            return
        finished, self._open = self._open, None
        try:
            finished.root.close()
            result = self._store.commit(finished.draft)
        except BaseException:
            self._store.discard(finished.draft)
            raise
        self._results[finished.result] = result
        self._made.append(result)

    # --- inputs -----------------------------------------------------------------------------------

    def _snapshot(self, number: int) -> Snapshot:
        """An input, or the result of an action."""
        if number == NO_INPUT:
            return EMPTY
        if 0 <= number < len(self._inputs):
            return self._inputs[number]
        position = number - len(self._inputs)
        result = self._results[position] if 0 <= position < len(self._results) else None
        if result is None:
            raise InvalidInput(f"a file operation has no input {number}")
        return result

    def _source(self, action: FileAction) -> int:
        return self._root(self._snapshot(action.secondary))

    def _root(self, snapshot: Snapshot) -> int:
        if snapshot not in self._mounted:
            self._mounted[snapshot] = self._roots.enter_context(open_root(snapshot, self._store.bottom))
        return self._mounted[snapshot].fileno()

    def _owner(self, action: FileAction) -> Ids | None:
        if isinstance(action.action, Remove):
            return None
        return ids_of(action.action.chown, self._owners_root)

    def _owners_root(self, number: int) -> int:
        """Where names are looked up: in an input as it is, or in what is being changed, where that is meant."""
        if self._open is not None and number - len(self._inputs) == self._open.result:
            return self._open.root.fileno()
        return self._root(self._snapshot(number))


def _owner_inputs(action: FileAction) -> list[int]:
    """The inputs in which names of an action's owners are looked up."""
    if isinstance(action.action, Remove) or action.action.chown is None:
        return []
    chown = action.action.chown
    return [owner.input for owner in (chown.user, chown.group) if owner is not None and owner.id is None]


def own(store: SnapshotStore, snapshot: Snapshot, check: Check = lambda: None) -> Snapshot:
    """A snapshot whose layers are all the store's: where a client's directory is one, it is copied."""
    if not is_local(snapshot):
        return snapshot
    draft = store.draft()
    try:
        with mount_draft(draft) as target:
            copy_all(open_root(snapshot, store.bottom), target, check)
        return store.commit(draft)
    finally:
        store.discard(draft)


def copy_all(source: Fd, target: Fd, check: Check = lambda: None) -> None:
    """Copy everything from one root to another, the root's looks as well.

    :param source: closed afterwards.
    """
    with source, locate(source, b"") as origin, locate(target, b"") as place, disk_errors("copy files"):
        Copier(target.fileno(), Looks(), check=check).copy(origin, place, dress=True)
