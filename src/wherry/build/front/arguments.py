"""Build arguments: those before the first FROM, what is always there, and proxies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct

from wherry.build.dockerfile.expansion import Lexer
from wherry.build.dockerfile.instructions import Arg, ArgPair
from wherry.build.front.problems import located
from wherry.build.model.graph import SourceRange
from wherry.oci.platform import Platform

__all__ = [
    "NOT_FOR_STEPS",
    "SCAN_CONTEXT",
    "SCAN_STAGE",
    "GlobalArgument",
    "global_arguments",
    "is_known",
    "predefined",
    "proxies",
]

SCAN_CONTEXT: Final = "BUILDKIT_SBOM_SCAN_CONTEXT"
SCAN_STAGE: Final = "BUILDKIT_SBOM_SCAN_STAGE"
NOT_FOR_STEPS: Final = frozenset((SCAN_CONTEXT, SCAN_STAGE))
"""Arguments that tell the builder something, and are no variables of steps."""
_PROXIES: Final = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")


class GlobalArgument(Struct, frozen=True):
    """An argument before the first FROM; `uses`: the names that its default has."""

    pair: ArgPair
    value: str
    ranges: tuple[SourceRange, ...]
    uses: tuple[str, ...] = ()


def predefined(build: Platform, target: Platform, stage: str, given: Mapping[str, str]) -> dict[str, str]:
    """What is always there for FROM, and for stages that declare it."""
    values = {
        "BUILDPLATFORM": str(build),
        "BUILDOS": build.os,
        "BUILDOSVERSION": "",
        "BUILDARCH": build.architecture,
        "BUILDVARIANT": build.variant,
        "TARGETPLATFORM": str(target),
        "TARGETOS": target.os,
        "TARGETOSVERSION": "",
        "TARGETARCH": target.architecture,
        "TARGETVARIANT": target.variant,
        "TARGETSTAGE": stage or "default",
    }
    return {name: given.get(name, value) for name, value in values.items()}


def global_arguments(
    before: Mapping[str, str], args: Iterable[Arg], given: Mapping[str, str], lexer: Lexer
) -> tuple[dict[str, str], dict[str, GlobalArgument]]:
    """The values of all arguments that FROM can use, and those that are declared.

    :param before: those that are always there.
    :param given: build arguments of the client's.
    :raises DockerfileError: a default is wrong.
    """
    values = dict(before)
    declared: dict[str, GlobalArgument] = {}
    for arg in args:
        for pair in arg.pairs:
            value = given.get(pair.name)
            uses: tuple[str, ...] = ()
            if value is None and pair.default is not None:
                with located(arg.ranges):
                    expansion = lexer.word(pair.default, values)
                value, uses = expansion.text, expansion.matched
            if value is not None:
                values[pair.name] = value
            declared[pair.name] = GlobalArgument(pair, value or "", arg.ranges, uses)
    return values, declared


def is_known(name: str) -> bool:
    """Whether an argument means something without being declared."""
    if name.startswith("BUILDKIT_") or name.lower() in _PROXIES:
        return True
    return name == "SOURCE_DATE_EPOCH" or name in predefined(Platform.host(), Platform.host(), "", {})


def proxies(given: Mapping[str, str]) -> tuple[str, ...]:
    """The proxies among the build arguments, for steps' environments: in both cases, as programs look for either."""
    found = {name.lower(): given[name] for name in sorted(given) if name.lower() in _PROXIES}
    return tuple(f"{case(name)}={value}" for name, value in found.items() for case in (str.upper, str.lower))
