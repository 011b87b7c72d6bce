"""What a client wants stated about a build: ``attest:provenance``, ``attest:sbom``."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from wherry.build.exporters.options import boolean
from wherry.errors import InvalidInput

__all__ = ["Provenance", "Wanted", "wanted"]

_PREFIXES: Final = ("build-arg:BUILDKIT_ATTEST_", "attest:")
_OURS: Final = ("generator", "disabled", "inline-only")  # what is left is for the scanner
_MOST: Final = 64 << 10  # characters
_BUILT_IN: Final = "docker/buildkit-syft-scanner"  # BuildKit's usual generator, which ours stands for


@dataclass(frozen=True, slots=True)
class Provenance:
    """How the provenance is to be.

    :param is_full: whether it has the steps and all parameters (``mode=max``).
    :param version: of SLSA: ``v1``, ``v0.2``.
    """

    is_full: bool = True
    version: str = "v1"
    builder_id: str = ""
    reproducible: bool = False
    inline_only: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """The statements that are wanted.

    :param scanner: an image that makes bills of materials; empty: the built-in generator does.
    :param parameters: for that image, by their names.
    """

    provenance: Provenance | None = None
    sbom: bool = False
    scanner: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)


def wanted(options: Mapping[str, str], *, inline: bool) -> Wanted:
    """Read what is wanted.

    :param options: of the build.
    :param inline: whether what is for images alone is wanted.
    :raises InvalidInput: a kind of statement is unknown, or an attribute makes no sense.
    """
    provenance: Provenance | None = None
    sbom = False
    scanner = ""
    parameters: dict[str, str] = {}
    for kind, attributes in _attributes(options).items():
        if boolean(attributes, "disabled", False):
            continue
        if kind == "provenance":
            found = _provenance(attributes)
            provenance = None if found.inline_only and not inline else found
        elif kind == "sbom":
            generator = attributes.get("generator", "")
            if not generator.startswith(_BUILT_IN):
                scanner = generator
            parameters = {name: value for name, value in attributes.items() if name not in _OURS}
            sbom = inline or not boolean(attributes, "inline-only", False)
        else:
            raise InvalidInput(f"unknown attestation type {kind[:100]!r}")
    return Wanted(provenance, sbom, scanner, parameters)


def _attributes(options: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """The attributes by the kind of statement; what is told as an option counts more than a build argument."""
    found: dict[str, dict[str, str]] = {}
    for prefix in _PREFIXES:
        for name, value in options.items():
            if name.startswith(prefix):
                found[name.removeprefix(prefix).lower()] = _fields(value)
    return found


def _fields(text: str) -> dict[str, str]:
    if len(text) > _MOST:
        raise InvalidInput("the options of an attestation are too long")
    if text in ("", "true", "1"):
        return {}
    if text in ("false", "0"):
        return {"disabled": "true"}
    try:
        [fields] = csv.reader([text], strict=True)
    except (csv.Error, ValueError) as exc:
        raise InvalidInput("failed to parse the options of an attestation", cause=str(exc)) from exc
    return {name: value for name, _, value in (field.partition("=") for field in fields)}


def _provenance(attributes: Mapping[str, str]) -> Provenance:
    mode, version = attributes.get("mode", "max"), attributes.get("version", "v1")
    if mode not in ("min", "max", "full"):
        raise InvalidInput(f"invalid mode {mode[:100]!r}")
    if version not in ("v1", "v0.2"):
        raise InvalidInput(f"invalid provenance SLSA version: {version[:100]}")
    return Provenance(
        mode != "min",
        version,
        attributes.get("builder-id", ""),
        boolean(attributes, "reproducible", False),
        boolean(attributes, "inline-only", False),
    )
