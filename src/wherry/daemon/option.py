"""One option of ``wherryd``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its flags, its name in the file, and what kind of value it takes.

    One of kind ``object`` is for the file alone, and has no flags.
    """

    flags: tuple[str, ...]
    key: str  #: the member of the configuration file; empty where only a flag makes sense
    kind: str  #: ``text``, ``number``, ``switch``, ``list``, ``map``, ``ulimits``, ``pools``, ``maps``, ``object``
    help: str
    metavar: str = "TEXT"
    field: str = ""  #: of the settings, where it has another name than the flag

    @property
    def name(self) -> str:
        """The name that the value has in between."""
        return (self.flags or (self.key,))[-1].lstrip("-").replace("-", "_")
