"""Instructions that say what is run: RUN, CMD, ENTRYPOINT, SHELL, ONBUILD, HEALTHCHECK."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeVar

from wherry.build.dockerfile.characters import split_spaces
from wherry.build.dockerfile.devices import parse_device
from wherry.build.dockerfile.flags import Flags, Kind, WordError
from wherry.build.dockerfile.instructions import Cmd, Entrypoint, Healthcheck, Onbuild, Run, Shell
from wherry.build.dockerfile.mounts import check_mount
from wherry.build.dockerfile.words import split
from wherry.build.dockerfile.written import Written
from wherry.docker.quoting import quoted
from wherry.docker.units import parse_duration
from wherry.errors import InvalidInput

__all__ = ["parse_cmd", "parse_entrypoint", "parse_healthcheck", "parse_onbuild", "parse_run", "parse_shell"]

_ONBUILD: Final = re.compile(r"\s*ONBUILD\s*", re.IGNORECASE)
_MILLISECOND: Final = 1_000_000
_NETWORKS: Final = ("default", "none", "host")
_SECURITY: Final = ("sandbox", "insecure")

_T = TypeVar("_T")


def parse_run(written: Written) -> Run:
    flags = written.flags(mount=Kind.TEXTS, network=Kind.TEXT, security=Kind.TEXT, device=Kind.TEXTS)
    command = written.command_line()
    network, security = flags.text("network", "default"), flags.text("security", "sandbox")
    if network not in _NETWORKS:
        raise WordError(f"invalid network mode {quoted(network)}", f"--network={network}")
    if security not in _SECURITY:
        raise WordError(f"security {quoted(security)} is not valid", f"--security={security}")
    _each(flags, "mount", check_mount)
    return Run(
        command=command,
        heredocs=written.line.heredocs,
        mounts=flags.texts("mount"),
        network=network,
        security=security,
        devices=tuple(_each(flags, "device", parse_device)),
        network_given="network" in flags,
        **written.origin,
    )


def _each(flags: Flags, name: str, parse_one: Callable[[str], _T]) -> list[_T]:
    """Parse the values of a flag."""
    found = []
    for value in flags.texts(name):
        try:
            found.append(parse_one(value))
        except InvalidInput as exc:
            raise WordError(exc.message, f"--{name}={value}") from exc
    return found


def parse_cmd(written: Written) -> Cmd:
    written.flags()
    return Cmd(command=written.command_line(), **written.origin)


def parse_entrypoint(written: Written) -> Entrypoint:
    written.flags()
    return Entrypoint(command=written.command_line(), **written.origin)


def parse_shell(written: Written) -> Shell:
    words = written.json(written.rest)
    written.flags()
    if not (written.rest if words is None else words):
        written.at_least_one(())
    if words is None:
        raise InvalidInput("SHELL requires the arguments to be in JSON form")
    return Shell(args=tuple(words), **written.origin)


def parse_onbuild(written: Written) -> Onbuild:
    written.at_least_one(written.rest)
    written.flags()
    keyword = split(written.rest, written.escape).keyword.upper()
    if keyword == "ONBUILD":
        raise InvalidInput("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if keyword in ("MAINTAINER", "FROM"):
        raise InvalidInput(f"{keyword} isn't allowed as an ONBUILD trigger")
    trigger = _ONBUILD.sub("", written.line.text, count=1)
    for heredoc in written.line.heredocs:
        trigger += f"\n{heredoc.content}{heredoc.name}"
    return Onbuild(trigger=trigger, **written.origin)


def parse_healthcheck(written: Written) -> Healthcheck:
    written.at_least_one(written.rest)
    kind, *others = split_spaces(written.rest, 1)
    kind, rest = kind.upper(), others[0] if others else ""
    words = written.json(rest)
    if kind == "NONE":
        if rest:
            raise InvalidInput("HEALTHCHECK NONE takes no arguments")
        return Healthcheck(test=("NONE",), **written.origin)
    flags = written.flags(
        interval=Kind.TEXT, timeout=Kind.TEXT, start_period=Kind.TEXT, start_interval=Kind.TEXT, retries=Kind.TEXT
    )
    if kind != "CMD":
        raise InvalidInput(f"Unknown type {quoted(kind)} in HEALTHCHECK (try CMD)")
    if not (rest if words is None else words):
        raise InvalidInput("Missing command after HEALTHCHECK CMD")
    return Healthcheck(
        test=("CMD-SHELL", rest) if words is None else ("CMD", *words),
        interval=_duration(flags, "interval"),
        timeout=_duration(flags, "timeout"),
        start_period=_duration(flags, "start-period"),
        start_interval=_duration(flags, "start-interval"),
        retries=_retries(flags.text("retries")),
        **written.origin,
    )


def _duration(flags: Flags, name: str) -> int:
    value = flags.text(name)
    if not value:
        return 0
    try:
        duration = parse_duration(value)
    except ValueError as exc:
        raise WordError(str(exc), f"--{name}={value}") from exc
    if duration and duration < _MILLISECOND:
        raise WordError(f'Interval "{name}" cannot be less than 1ms', f"--{name}={value}")
    return duration


def _retries(value: str) -> int:
    if not value:
        return 0
    digits = value.removeprefix("-").removeprefix("+")
    if not (digits.isascii() and digits.isdecimal() and len(value) - len(digits) <= 1):
        raise WordError(f"strconv.ParseInt: parsing {quoted(value)}: invalid syntax", f"--retries={value}")
    if len(digits) > 10 or not -(1 << 31) <= int(value) < 1 << 31:
        raise WordError(f"strconv.ParseInt: parsing {quoted(value)}: value out of range", f"--retries={value}")
    if int(value) < 0:
        raise WordError(f"--retries cannot be negative ({int(value)})", f"--retries={value}")
    return int(value)
