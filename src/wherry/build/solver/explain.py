"""Why a step was run, or taken from the cache: what its key was made of in the last build of the same step, and now.

Of values only digests are remembered: an argument may be a secret, though it should not.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import msgspec

from wherry.build.model.graph import Cache, Copy, ExecOp, FileOp, Secret, Ssh
from wherry.build.solver.node import Node

__all__ = ["Explainer"]

_PLACE: Final = re.compile(r"\[[^\]]{1,200}\]")
_SHOWN: Final = 5
"""Files that are named."""
_LONGEST: Final = 4_000
"""Characters of an explanation."""
_MOST: Final = 5_000
"""Steps of a build that are remembered."""


class Words(Protocol):
    """What is remembered beyond a build."""

    def recall(self, name: str) -> str | None:
        """What was remembered under a name."""
        ...

    def remember_all(self, words: dict[str, str]) -> None:
        """Remember several things."""
        ...


class Explainer:
    """Explains the steps of one build.

    :param lineage: the same for all builds of the same thing.
    :param listing: the files, and a digest of each, that a checksum was made of; empty: not known.
    """

    def __init__(self, words: Words, lineage: str, listing: Callable[[str], Mapping[str, str]]) -> None:
        self._words = words
        self._lineage = lineage
        self._listing = listing
        self._steps: list[Node] = []
        self._files: dict[str, Mapping[str, str]] = {}

    def explain(self, node: Node, cached: bool) -> str:
        """Why a step was run, or was not."""
        if not isinstance(node.vertex.op, ExecOp | FileOp):
            return ""
        if len(self._steps) < _MOST:
            self._steps.append(node)
        if cached:
            return "nothing that it depends on has changed"
        for checksum in _checksums(node).values():
            if files := self._listing(checksum):
                self._files[checksum] = files
        if node.vertex.metadata.ignore_cache:
            return "the cache was not to be used for it"
        before = self._before(self._name(node))
        if before is None:
            return "no earlier build of this step is remembered"
        return self._difference(node, before)[:_LONGEST] or "its result is not in the cache any more"

    def store(self) -> None:
        """Remember it for the next build. To be called in a thread, when the build is over."""
        words = {f"files {checksum}": _packed(files) for checksum, files in self._files.items()}
        for node in self._steps:
            if node.checksums or not node.uses:  # where a fast key has led to it, nobody has looked at its content
                words[self._name(node)] = json.dumps(_ingredients(node))
        self._words.remember_all(words)

    def _name(self, node: Node) -> str:
        found = _PLACE.match(node.progress.name)
        place = found[0] if found else node.progress.name
        return f"step {hashlib.sha256(f'{self._lineage} {place}'.encode()).hexdigest()}"

    def _before(self, name: str) -> dict[str, str] | None:
        text = self._words.recall(name)
        try:
            found = json.loads(text) if text else None
        except ValueError:
            return None
        return found if isinstance(found, dict) else None

    def _difference(self, node: Node, before: Mapping[str, str]) -> str:
        now = _ingredients(node)
        checksums = _checksums(node)
        found = []
        for name in [*now, *(name for name in before if name not in now)]:
            if before.get(name) == now.get(name):
                continue
            if name not in before:
                found.append(f"{name} is new")
            elif name not in now:
                found.append(f"{name} is gone")
            elif name in checksums:
                found.append(self._changed_files(name, before[name], checksums[name]))
            else:
                found.append(f"{name} differs")
        return "; ".join(found[:_SHOWN])

    def _changed_files(self, name: str, before: str, now: str) -> str:
        """Which files differ, where that is known."""
        old = _unpacked(self._words.recall(f"files {before}") or "")
        new = self._listing(now)
        if not old or not new or "" in old or "" in new:  # a file that is copied itself has no name in its list
            return f"{name} differs"
        changed = [
            *(f"{path} differs" for path in sorted(new) if path in old and old[path] != new[path]),
            *(f"{path} is new" for path in sorted(new.keys() - old.keys())),
            *(f"{path} is gone" for path in sorted(old.keys() - new.keys())),
        ]
        more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        return f"{name}: {', '.join(changed[:_SHOWN])}{more}" if changed else f"{name} differs"


def _packed(files: Mapping[str, str]) -> str:
    """A list of files as a text that is short enough to be remembered, mostly."""
    return base64.b64encode(zlib.compress(json.dumps(dict(files)).encode())).decode()


def _unpacked(text: str) -> dict[str, str]:
    try:
        found = json.loads(zlib.decompress(base64.b64decode(text))) if text else {}
    except (ValueError, zlib.error):
        return {}
    return found if isinstance(found, dict) else {}


def _ingredients(node: Node) -> dict[str, str]:
    """What a key is made of, by names for people."""
    op = node.vertex.op
    found: dict[str, str] = {}
    for number, one in enumerate(node.inputs):
        if number not in node.checksums:
            found[f'the base "{one.progress.name}"'] = one.identity or ""
    found |= _checksums(node)
    if isinstance(op, ExecOp):
        found |= _of_a_step(op)
    elif isinstance(op, FileOp):
        actions = [msgspec.json.encode(action).decode() for action in op.actions]
        found["what is to be done"] = _digest("\n".join(actions))
    if node.vertex.platform is not None:
        found["the platform"] = str(node.vertex.platform)
    return found


def _of_a_step(op: ExecOp) -> dict[str, str]:
    found = {"the command": _digest("\0".join(op.args))}
    for entry in op.env:
        name, _, value = entry.partition("=")
        found[f"the variable {name}"] = _digest(value)
    others = {"the directory": op.cwd, "the user": op.user, "the network": op.network, "the security": op.security}
    found |= {name: _digest(str(value)) for name, value in others.items()}
    for mount in op.mounts:
        if mount.target != "/":
            kind = "" if isinstance(mount.kind, Cache) else msgspec.json.encode(mount.kind).decode()
            selector = mount.selector if not isinstance(mount.kind, Cache | Secret | Ssh) else ""
            found[f"the mount {mount.target}"] = _digest(f"{kind} {selector} {mount.readonly}")
    return found


def _checksums(node: Node) -> dict[str, str]:
    """The checksums of content, by names for people."""
    found = {}
    for number, checksums in node.checksums.items():
        for use, checksum in zip(node.uses[number], checksums, strict=True):
            source = use.copy.source if isinstance(use.copy, Copy) else use.path
            found[f"the content of {source} from {node.inputs[number].progress.name}"] = checksum
    return found


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]
