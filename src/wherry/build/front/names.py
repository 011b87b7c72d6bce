"""How steps are called for people: ``[linux/amd64 build 1/2] FROM docker.io/library/busybox``; as BuildKit does."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from wherry.build.dockerfile.expansion import Lexer
from wherry.build.dockerfile.instructions import Heredoc, Instruction
from wherry.build.front.stages import Stage
from wherry.build.front.text import uppercase_first_word
from wherry.errors import InvalidInput
from wherry.oci.platform import Platform

__all__ = ["instruction_name", "numbered", "summary"]

_LONGEST_EXPANDED = 4096
_LONGEST = 16384


def numbered(
    stage: Stage,
    text: str,
    *,
    platform: Platform | None,
    env: Mapping[str, str] | None = None,
    trigger: bool = False,
    again: bool = False,
) -> str:
    """A step's name with its stage and its number there.

    :param platform: to be shown; None: not.
    :param env: the stage's variables, which may say that it builds for another platform.
    :param again: the same number as the step before.
    """
    if not stage.steps:
        return text
    if not again:
        stage.step += 1
    where = f"{platform}{_target(platform, env or {})} " if platform is not None else ""
    title = f"{stage.title} " if stage.title else ""
    width = len(str(stage.steps))
    return f"[{where}{title}{stage.step:{width}d}/{stage.steps}] {'ONBUILD ' if trigger else ''}{text}"


def _target(platform: Platform, env: Mapping[str, str]) -> str:
    """``->arm64`` where a stage that runs here builds for another platform."""
    target = _declared_target(platform, env)
    if target is None or (target.os, target.architecture) == (platform.os, platform.architecture):
        return ""
    if target.os == platform.os:
        return f"->{target.architecture}" + (f"/{target.variant}" if target.variant else "")
    return f"->{target}"


def _declared_target(platform: Platform, env: Mapping[str, str]) -> Platform | None:
    if text := env.get("TARGETPLATFORM"):
        try:
            return Platform.parse(text).normalised()
        except InvalidInput:
            return None
    if not env.keys() & {"TARGETOS", "TARGETARCH", "TARGETVARIANT"}:
        return None
    system, architecture = env.get("TARGETOS") or platform.os, env.get("TARGETARCH") or platform.architecture
    return Platform(system, architecture, env.get("TARGETVARIANT", "")).normalised()


def instruction_name(instruction: Instruction, lexer: Lexer, env: Mapping[str, str], *, suffix: str = "") -> str:
    """An instruction on one line, with the values of its variables.

    One that is very long is shown as it was written, and cut.
    """
    text = instruction.original + suffix
    if len(text) <= _LONGEST_EXPANDED:
        with suppress(InvalidInput):
            text = lexer.word(text, env).text
    return uppercase_first_word(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")


def summary(heredoc: Heredoc) -> str:
    """A heredoc's first line."""
    lines = heredoc.content.strip().replace("\r\n", "\n").split("\n", 1)
    return lines[0] + ("..." if len(lines) > 1 else "")
