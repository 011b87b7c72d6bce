"""An image's configuration while instructions change it: JSON, with all that its base had and that we do not know."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from wherry.build.front.budget import Budget
from wherry.errors import InvalidInput
from wherry.oci.image_config import parse_config
from wherry.oci.platform import Platform

__all__ = ["DEFAULT_PATH", "Image"]

DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_COMMENT: Final = "buildkit.dockerfile.v0"
_OF_THE_BASE: Final = (
    "comment", "container", "container_config", "created", "docker_version", "history", "id", "parent", "rootfs",
    "Size",
)  # fmt: skip
"""What a base's configuration says about the base alone."""
_OF_ITS_BUILD: Final = "moby.buildkit."
"""Begins members about the base's own build: its cache."""
_OF_A_CONTAINER: Final = (
    "AttachStderr", "AttachStdin", "AttachStdout", "Domainname", "Hostname", "Image", "MacAddress", "NetworkDisabled",
    "OpenStdin", "StdinOnce", "Tty",
)  # fmt: skip
"""What Docker's classic builder has put there, and is of the container that an image was made in."""
_ABSENT_WHEN_EMPTY: Final = (
    "ArgsEscaped", "Cmd", "Entrypoint", "ExposedPorts", "Labels", "OnBuild", "Shell", "StopSignal", "User", "Volumes",
    "WorkingDir",
)  # fmt: skip
_DEFAULT_SHELL: Final = ("/bin/sh", "-c")


@dataclass(frozen=True, slots=True)
class _Entry:
    """The newest entry of a history, and what was before it: stages that come of each other share theirs."""

    value: dict[str, Any]
    before: _Entry | None


class Image:
    """A configuration. Stages that come of each other have copies.

    :ivar config: the part that is about containers (``config``), in the image specification's names.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._history: _Entry | None = None
        self.config: dict[str, Any] = document.pop("config", None) or {}
        self._env = {line.partition("=")[0]: line for line in self.config.pop("Env", None) or ()}

    @classmethod
    def empty(cls, platform: Platform) -> Image:
        """That of ``FROM scratch``."""
        image = cls({"architecture": platform.architecture, "os": platform.os})
        if platform.variant:
            image._document["variant"] = platform.variant
        image.config["WorkingDir"] = "/"
        image.set_environment(f"PATH={DEFAULT_PATH}")
        return image

    @classmethod
    def of_base(cls, data: bytes) -> Image:
        """That of an image that begins as another one: without what is about that one alone.

        :raises InvalidInput: it is no image configuration.
        """
        parse_config(data)  # its types are right, but for what is null, and so absent to Go
        document = _without_nulls(data)
        history = document.get("history") or []
        for name in [name for name in document if name in _OF_THE_BASE or name.startswith(_OF_ITS_BUILD)]:
            del document[name]
        image = cls(document)
        for name in _OF_A_CONTAINER:
            image.config.pop(name, None)
        for name in _ABSENT_WHEN_EMPTY:
            if not image.config.get(name, True):
                del image.config[name]
        for entry in history:
            image._history = _Entry(entry, image._history)
        return image

    def copied(self, budget: Budget, *, triggers: bool = False) -> Image:
        """One that can be changed by itself.

        :param triggers: whether it has those of ONBUILD, too.
        :raises TooLarge: of the budget.
        """
        entries = sum(len(value) for value in self.config.values() if isinstance(value, list | dict))
        budget.spend(0, entries + len(self._env))
        other = Image(dict(self._document))
        other._env = dict(self._env)
        other.config = {
            name: copy.copy(value) if isinstance(value, list | dict) else value for name, value in self.config.items()
        }
        if not triggers:
            other.config.pop("OnBuild", None)
        other._history = self._history
        return other

    # --- what is asked --------------------------------------------------------------------------

    @property
    def platform(self) -> Platform | None:
        """The one that it says it is for; None: it does not say."""
        system, architecture = self._document.get("os", ""), self._document.get("architecture", "")
        if not system or not architecture:
            return None
        return Platform(system, architecture, self._document.get("variant", "")).normalised()

    @property
    def user(self) -> str:
        """The user of its containers; empty: root."""
        return str(self.config.get("User", ""))

    @property
    def working_directory(self) -> str:
        """The working directory of its containers; may be empty."""
        return str(self.config.get("WorkingDir", ""))

    @property
    def environment(self) -> list[tuple[str, str]]:
        """The variables' names and values."""
        return [(name, line.partition("=")[2]) for name, line in self._env.items()]

    @property
    def triggers(self) -> list[str]:
        """What ONBUILD said."""
        return list(self.config.get("OnBuild") or ())

    @property
    def shell(self) -> tuple[str, ...]:
        """What runs commands that are texts."""
        return tuple(self.config.get("Shell") or ()) or _DEFAULT_SHELL

    @property
    def has_shell(self) -> bool:
        """Whether SHELL was used."""
        return bool(self.config.get("Shell"))

    # --- what is changed ------------------------------------------------------------------------

    def set(self, name: str, value: Any) -> None:
        """Set a member of the container configuration; one that is empty goes."""
        if value in ("", None, []):
            self.config.pop(name, None)
        else:
            self.config[name] = value

    def set_author(self, author: str) -> None:
        """MAINTAINER."""
        self._document["author"] = author

    def set_environment(self, line: str) -> None:
        """Set a variable, ``NAME=value``, in its place if it is there."""
        self._env[line.partition("=")[0]] = line

    def set_platform(self, platform: Platform) -> None:
        """Say for which platform it is; a variant that the image has is kept, where none is asked for."""
        named = (platform.os, platform.architecture)
        same = (self._document.get("os"), self._document.get("architecture")) == named
        variant = platform.variant or (str(self._document.get("variant", "")) if same else "")
        self._document["os"], self._document["architecture"] = named
        self._document["variant"] = Platform(*named, variant).normalised().variant
        if not self._document["variant"]:
            del self._document["variant"]
        if not same:
            self._document.pop("os.version", None)

    def add_history(self, text: str, *, layer: bool, created: str | None) -> None:
        """One more entry.

        :param layer: whether there is a layer for it.
        :param created: RFC 3339; None: not known yet.
        """
        entry: dict[str, Any] = {"created": created} if created else {}
        entry |= {"created_by": text, "comment": _COMMENT}
        if not layer:
            entry["empty_layer"] = True
        self._history = _Entry(entry, self._history)

    def encoded(self) -> bytes:
        """The configuration as JSON, without ``rootfs``; the same one always gives the same bytes."""
        config = self.config | ({"Env": list(self._env.values())} if self._env else {})
        document = {**self._document, "config": config, "history": list(self._entries())[::-1]}
        return msgspec.json.encode(document, order="sorted")

    def _entries(self) -> Iterator[dict[str, Any]]:
        entry = self._history
        while entry is not None:
            yield entry.value
            entry = entry.before


def _without_nulls(data: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(data)
    except msgspec.DecodeError as exc:
        raise InvalidInput("failed to parse image config", cause=str(exc)) from exc
    pending: list[Any] = [found]
    while pending:
        one = pending.pop()
        if isinstance(one, dict):
            for name in [name for name, value in one.items() if value is None]:
                del one[name]
            pending += one.values()
        elif isinstance(one, list):
            pending += one
    return dict(found)
