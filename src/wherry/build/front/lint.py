"""The checks of a build, and what they found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Final

from msgspec import Struct

from wherry.build.dockerfile import checks, rules
from wherry.build.dockerfile.check_options import CheckOptions
from wherry.build.dockerfile.checks import Finding
from wherry.build.dockerfile.expansion import Expansion, Lexer
from wherry.build.dockerfile.instructions import Dockerfile, From, Instruction, Workdir
from wherry.build.dockerfile.rules import Rule
from wherry.build.front.ports import PortWord
from wherry.build.model.errors import DockerfileError
from wherry.build.model.graph import SourceRange
from wherry.build.model.patterns import PatternMatcher
from wherry.build.model.progress import WarningProgress
from wherry.errors import InvalidInput
from wherry.oci.digest import Digest
from wherry.oci.platform import Platform

__all__ = ["Lint", "Violation"]

_MOST: Final = 1000
"""Violations that are kept: a hostile Dockerfile has more."""
_MOST_KNOWN: Final = 500
"""Names among which the one that was meant is looked for."""
_SHOWN_SOURCE: Final = 64 << 10
"""Bytes of a Dockerfile that goes with each warning."""
_SHOWN_ALTOGETHER: Final = 4 << 20


class Violation(Struct, frozen=True):
    """What a check found: the rule, what it is about in general, and here."""

    rule: str
    message: str
    ranges: tuple[SourceRange, ...]
    description: str = ""
    url: str = ""


class Lint:
    """Collects what checks find.

    :param options: which are wanted; None: none at all.
    :param excludes: the context's .dockerignore.
    """

    def __init__(
        self, dockerfile: Dockerfile | None = None, options: CheckOptions | None = None, excludes: Sequence[str] = ()
    ) -> None:
        self.violations: list[Violation] = []
        self._dockerfile = dockerfile
        self._options = options
        self._ignored = PatternMatcher(excludes)
        self._declared = (
            frozenset(pair.name for arg in dockerfile.args for pair in arg.pairs) if dockerfile else frozenset()
        )

    @classmethod
    def of(cls, dockerfile: Dockerfile, options: str | None, excludes: Sequence[str]) -> Lint:
        """Checks as a Dockerfile, or the client, wants them.

        :raises DockerfileError: the options are wrong.
        :raises InvalidInput: a pattern of .dockerignore is wrong.
        """
        directive = dockerfile.directive("check")
        written = directive.value.partition(" ")[0] if directive else ""
        try:
            parsed = CheckOptions.parse(written if options is None else options)
        except InvalidInput as exc:
            ranges = (directive.range,) if directive and options is None else ()
            raise DockerfileError(
                f"failed to parse check options: {exc.message}",
                file=dockerfile.file,
                source=dockerfile.source,
                ranges=ranges,
            ) from exc
        return cls(dockerfile, parsed, excludes)

    def silent(self) -> Lint:
        """The same without a voice: for a second platform."""
        return Lint()

    def warnings(self, vertex: Digest, file: str, source: bytes) -> list[WarningProgress]:
        """What was found, for those who show the build."""
        fits = len(source) <= _SHOWN_SOURCE and len(source) * len(self.violations) <= _SHOWN_ALTOGETHER
        shown = source if fits else b""
        return [
            WarningProgress(
                vertex=vertex,
                level=1,
                short=_short(one),
                detail=(one.description,),
                url=one.url,
                file=file,
                source=shown,
                ranges=one.ranges,
            )
            for one in self.violations
        ]

    def raise_if_wanted(self) -> None:
        """Fail if something was found and that is an error.

        :raises DockerfileError: so it is.
        """
        if self._options and self._options.error and self.violations:
            names = ", ".join(sorted({one.rule for one in self.violations}))
            raise DockerfileError(
                f"lint violation found for rules: {names}",
                file=self._dockerfile.file if self._dockerfile else "",
                source=self._dockerfile.source if self._dockerfile else b"",
            )

    @property
    def _is_over(self) -> bool:
        """Whether nothing more is taken."""
        return self._options is None or len(self.violations) >= _MOST

    def _wants(self, rule: Rule, instruction: Instruction) -> bool:
        """Whether a check that costs something is to be made."""
        if self._options is None or self._is_over:
            return False
        return self._options.with_comments(instruction.comments).wants(rule)

    def _take(self, findings: Iterable[Finding | None]) -> None:
        if self._options is None:
            return
        for finding in findings:
            if finding is None or not self._options.with_comments(finding.comments).wants(finding.rule):
                continue
            if self._is_over:
                return
            rule = finding.rule
            self.violations.append(Violation(rule.name, finding.message, finding.ranges, rule.description, rule.url))

    # --- checks ---------------------------------------------------------------------------------

    def dockerfile(self, dockerfile: Dockerfile, before: Mapping[str, str], lexer: Lexer) -> None:
        """All that can be said about the text alone."""
        if self._options is not None:
            self._take(checks.check(dockerfile))
            self._take(checks.invalid_default_bases(dockerfile, before, lexer))

    def undefined_variables(self, instruction: Instruction, names: Iterable[str], known: Mapping[str, str]) -> None:
        """Variables are used that are not set."""
        if self._wants(rules.UNDEFINED_VAR, instruction):
            some = list(islice(known, _MOST_KNOWN))
            self._take(checks.undefined_variables(instruction, islice(names, _MOST_KNOWN), some))

    def undefined_in_from(self, from_: From, names: Sequence[str], known: Mapping[str, str]) -> None:
        """FROM uses arguments that are not declared."""
        if names and self._wants(rules.UNDEFINED_ARG_IN_FROM, from_):
            self._take(checks.undefined_in_from(from_, names, {*known, *self._declared}))

    def platform(self, from_: From, found: Expansion, known: Mapping[str, str]) -> None:
        """FROM's platform is a constant, or the target's."""
        target = known.get("TARGETPLATFORM", "")
        self._take([checks.redundant_platform(from_, found, target), checks.const_platform(from_, found)])

    def base_platform(self, image: str, wanted: Platform, actual: Platform | None, from_: From | None) -> None:
        """An image is for another platform."""
        if from_ is not None and actual is not None:
            self._take([checks.base_platform(from_, image, wanted, actual)])

    def ignored_file(self, instruction: Instruction, path: str) -> None:
        """COPY's source is not in the context."""
        if self._wants(rules.COPY_IGNORED_FILE, instruction):
            self._take([checks.ignored_file(instruction, path, self._ignored)])

    def legacy_pair(self, instruction: Instruction) -> None:
        """``ENV name value``."""
        self._take([checks.legacy_pair(instruction)])

    def secret_name(self, keyword: str, name: str, instruction: Instruction) -> None:
        """A variable looks like a secret."""
        self._take([checks.secret_name(instruction, name)])

    def relative_working_directory(self, instruction: Workdir) -> None:
        """The first WORKDIR is relative."""
        self._take([checks.relative_workdir(instruction)])

    def shell_form(self, instruction: Instruction) -> None:
        """CMD or ENTRYPOINT is run by a shell."""
        self._take([checks.shell_form(instruction)])

    def given_again(self, instruction: Instruction, before: Instruction) -> None:
        """CMD, ENTRYPOINT or HEALTHCHECK is given twice."""
        self._take([checks.given_again(instruction, before)])

    def port(self, word: PortWord, instruction: Instruction) -> None:
        """EXPOSE says more than a port."""
        if word.protocol != word.protocol.lower():
            self._take([checks.expose_protocol(instruction, word.text)])
        if word.address or word.host_ports:
            self._take([checks.expose_format(instruction, word.text)])


def _short(violation: Violation) -> str:
    line = f" (line {violation.ranges[0].start_line})" if violation.ranges else ""
    return f"{violation.rule}: {violation.message}{line}"
