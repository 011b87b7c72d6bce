"""Subrequests: not a build, but what one would be like. Texts and JSON as BuildKit's, since clients print them."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from wherry.build.dockerfile.excerpt import excerpt
from wherry.build.dockerfile.instructions import ArgPair, Dockerfile
from wherry.build.front.arguments import GlobalArgument
from wherry.build.front.lint import Violation
from wherry.build.front.stages import Stage, reachable
from wherry.build.front.text import table
from wherry.build.model.errors import DockerfileError
from wherry.build.model.graph import SourceRange

__all__ = ["DESCRIBE", "LINT", "OUTLINE", "TARGETS", "describe", "lint", "outline", "targets"]

DESCRIBE: Final = "frontend.subrequests.describe"
LINT: Final = "frontend.lint"
OUTLINE: Final = "frontend.outline"
TARGETS: Final = "frontend.targets"
_VERSION: Final = b"1.0.0"


def _named(name: str, description: str = "") -> dict[str, str]:
    return {"name": name, "description": description}


def _known(name: str, description: str, opts: list[dict[str, str]] | None) -> dict[str, Any]:
    return {
        "name": name,
        "version": _VERSION.decode(),
        "type": "rpc",
        "description": description,
        "opts": opts,
        "inputs": None,
        "metadata": [_named("result.json"), _named("result.txt")],
        "refs": None,
    }


_KNOWN: Final = (
    _known(OUTLINE, "List all parameters current build target supports", [_named("target", "Target build stage")]),
    _known(TARGETS, "List all targets current build supports", []),
    _known(DESCRIBE, "List available subrequest types", None),
)


def describe() -> dict[str, bytes]:
    """Which subrequests there are."""
    rows = [("NAME", "VERSION", "DESCRIPTION")]
    rows += [(one["name"].removeprefix("frontend."), one["version"], one["description"]) for one in _KNOWN]
    return _result(_KNOWN, table(rows, 1))


def targets(dockerfile: Dockerfile) -> dict[str, bytes]:
    """The stages."""
    last = len(dockerfile.stages) - 1
    found = []
    rows = [("TARGET", "DESCRIPTION")]
    for number, stage in enumerate(dockerfile.stages):
        from_, default = stage.from_, number == last
        found.append(
            _without_empty(
                name=from_.alias,
                default=default,
                description=from_.description,
                base=from_.image,
                platform=from_.platform,
                location=_location(from_.ranges),
            )
        )
        name = f"{from_.alias} (default)" if default and from_.alias else "(default)" if default else from_.alias
        rows.append((name, from_.description))
    return _result({"targets": found, "sources": [_base64(dockerfile.source)]}, table(rows, 1))


# --- outline --------------------------------------------------------------------------------------


def outline(dockerfile: Dockerfile, target: Stage, arguments: dict[str, GlobalArgument]) -> dict[str, bytes]:
    """What a target takes: build arguments, secrets, agents."""
    stages = reachable(target)
    from_ = target.from_
    args = _arguments(stages, arguments)
    secrets = _demands(stage.outline.secrets for stage in stages)
    ssh = _demands(stage.outline.ssh for stage in stages)
    document = _without_empty(
        name=target.name,
        description=from_.description if from_ is not None else "",
        args=[
            _without_empty(name=pair.name, description=pair.description, value=value, location=_location(ranges))
            for pair, value, ranges in args
        ],
        secrets=secrets,
        ssh=ssh,
        sources=[_base64(dockerfile.source)],
    )
    return _result(document, _outline_text(document))


_Argument = tuple[ArgPair, str, tuple[SourceRange, ...]]


def _arguments(stages: Iterable[Stage], globals_: dict[str, GlobalArgument]) -> list[_Argument]:
    """The arguments that some stages use, in the order in which they are written."""
    found: dict[str, _Argument] = {}
    for stage in stages:
        own = stage.outline.arguments
        pending, seen = list(stage.outline.used), set()
        while pending:
            name = pending.pop()
            if name in seen:
                continue
            seen.add(name)
            if name in own:
                found.setdefault(name, own[name])
            elif name in globals_:
                one = globals_[name]
                found.setdefault(name, (one.pair, one.value, one.ranges))
                pending += one.uses
    return sorted(found.values(), key=lambda one: _first_line(one[2]))


def _demands(found: Iterable[dict[str, tuple[bool, tuple[SourceRange, ...]]]]) -> list[dict[str, Any]]:
    merged: dict[str, tuple[bool, tuple[SourceRange, ...]]] = {}
    for one in found:
        for name, demand in one.items():
            merged.setdefault(name, demand)
    ordered = sorted(merged.items(), key=lambda item: _first_line(item[1][1]))
    return [
        _without_empty(name=name, required=required, location=_location(ranges)) for name, (required, ranges) in ordered
    ]


def _outline_text(document: dict[str, Any]) -> str:
    text = ""
    if document.get("name") or document.get("description"):
        rows = [("TARGET:", document.get("name") or "(default)")]
        if document.get("description"):
            rows.append(("DESCRIPTION:", document["description"]))
        text += table(rows, 1) + "\n"
    if args := document.get("args"):
        rows3 = [("BUILD ARG", "VALUE", "DESCRIPTION")]
        rows3 += [(one["name"], one.get("value", ""), one.get("description", "")) for one in args]
        text += table(rows3, 3) + "\n"
    for title, key in (("SECRET", "secrets"), ("SSH", "ssh")):
        if found := document.get(key):
            rows = [(title, "REQUIRED")]
            rows += [(one["name"], "true" if one.get("required") else "") for one in found]
            text += table(rows, 3) + "\n"
    return text


# --- lint -----------------------------------------------------------------------------------------


def lint(
    dockerfile_name: str, source: bytes, violations: Sequence[Violation], error: DockerfileError | None
) -> dict[str, bytes]:
    """What the checks found, and the error that ended them."""
    document: dict[str, Any] = {
        "warnings": [
            _without_empty(
                ruleName=one.rule,
                description=one.description,
                url=one.url,
                detail=one.message,
                location=_location(one.ranges) or {},
            )
            for one in violations
        ]
        or None,
        "sources": [{"filename": dockerfile_name, "data": _base64(source), "language": "Dockerfile"}],
    }
    if error is not None:
        document["buildError"] = {"message": str(error), "location": _location(error.ranges) or {}}
    ordered = sorted(violations, key=lambda one: (bool(one.ranges), _first_line(one.ranges), one.rule))
    text = "".join(_violation_text(one, dockerfile_name, source) for one in ordered)
    failed = bool(violations) or error is not None
    return {**_result(document, text), "result.statuscode": b"1" if failed else b"0"}


def _violation_text(one: Violation, name: str, source: bytes) -> str:
    url = f" - {one.url}" if one.url else ""
    return f"\nWARNING: {one.rule}{url}\n{one.message}\n{excerpt(name, source, one.ranges)}"


# --- JSON -----------------------------------------------------------------------------------------


def _result(document: Any, text: str) -> dict[str, bytes]:
    encoded = msgspec.json.format(msgspec.json.encode(document), indent=2)
    return {"result.json": encoded, "result.txt": text.encode(), "version": _VERSION}


def _without_empty(**members: Any) -> dict[str, Any]:
    """As Go leaves out what is ``omitempty``."""
    return {name: value for name, value in members.items() if value not in ("", False, None, [])}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _location(ranges: Sequence[SourceRange]) -> dict[str, Any] | None:
    if not ranges:
        return None
    return {
        "ranges": [
            {
                "start": _position(one.start_line, one.start_character),
                "end": _position(one.end_line, one.end_character),
            }
            for one in ranges
        ]
    }


def _position(line: int, character: int) -> dict[str, int]:
    return {name: value for name, value in (("line", line), ("character", character)) if value}


def _first_line(ranges: Sequence[SourceRange]) -> int:
    return ranges[0].start_line if ranges else 0
