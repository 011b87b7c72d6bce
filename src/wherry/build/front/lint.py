"""The checks of a build, and what they found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from wherry.build.dockerfile.expansion import Expansion, Lexer
from wherry.build.dockerfile.instructions import Dockerfile, From, Instruction, Workdir
from wherry.build.front.ports import PortWord
from wherry.build.model.graph import SourceRange
from wherry.build.model.progress import WarningProgress
from wherry.oci.digest import Digest
from wherry.oci.platform import Platform

__all__ = ["Lint", "Violation"]


class Violation(Struct, frozen=True):
    """What a check found: the rule, what it is about in general, and here."""

    rule: str
    message: str
    ranges: tuple[SourceRange, ...]
    description: str = ""
    url: str = ""


class Lint:
    """Collects what checks find."""

    def __init__(self) -> None:
        self.violations: list[Violation] = []

    @classmethod
    def of(cls, dockerfile: Dockerfile, options: str | None, excludes: Sequence[str]) -> Lint:
        """Checks as a Dockerfile, or the client, wants them."""
        return cls()

    def silent(self) -> Lint:
        """The same without a voice: for a second platform."""
        return Lint()

    def warnings(self, vertex: Digest, file: str, source: bytes) -> list[WarningProgress]:
        """What was found, for those who show the build."""
        return []

    def raise_if_wanted(self) -> None:
        """Fail if something was found and that is an error."""

    def dockerfile(self, dockerfile: Dockerfile, before: Mapping[str, str], lexer: Lexer) -> None:
        """All that can be said about the text alone."""

    def undefined_variables(self, instruction: Instruction, names: Iterable[str], known: Mapping[str, str]) -> None:
        """Variables are used that are not set."""

    def undefined_in_from(self, from_: From, names: Iterable[str], known: Mapping[str, str]) -> None:
        """FROM uses arguments that are not declared."""

    def platform(self, from_: From, found: Expansion, known: Mapping[str, str]) -> None:
        """FROM's platform is a constant, or the target's."""

    def base_platform(self, image: str, wanted: Platform, actual: Platform | None, from_: From | None) -> None:
        """An image is for another platform."""

    def ignored_file(self, instruction: Instruction, path: str) -> None:
        """COPY's source is not in the context."""

    def legacy_pair(self, instruction: Instruction) -> None:
        """``ENV name value``."""

    def secret_name(self, keyword: str, name: str, instruction: Instruction) -> None:
        """A variable looks like a secret."""

    def relative_working_directory(self, instruction: Workdir) -> None:
        """The first WORKDIR is relative."""

    def shell_form(self, instruction: Instruction) -> None:
        """CMD or ENTRYPOINT is run by a shell."""

    def given_again(self, instruction: Instruction, before: Instruction) -> None:
        """CMD, ENTRYPOINT or HEALTHCHECK is given twice."""

    def port(self, word: PortWord, instruction: Instruction) -> None:
        """EXPOSE says more than a port."""
