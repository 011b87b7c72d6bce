"""Dockerfile instructions that change a configuration: ``--change`` of import and commit.

The syntax is the Dockerfile's: CMD, ENTRYPOINT, HEALTHCHECK, VOLUME take a JSON list or a line for the shell; ENV and
LABEL take ``key=value`` pairs with shell quotes, or the old ``key value``. Variables are those of the environment.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from wherry.docker.units import parse_duration
from wherry.errors import InvalidInput
from wherry.images.expansion import expand, expand_words

__all__ = ["apply_changes"]

Config = dict[str, Any]

_SHELL: Final = ["/bin/sh", "-c"]
_PORT: Final = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/(tcp|udp|sctp))?", re.IGNORECASE)
_RETRIES: Final = re.compile(r"[0-9]{1,9}")
_HEALTH_FLAGS: Final = {
    "interval": "Interval", "timeout": "Timeout", "start-period": "StartPeriod", "start-interval": "StartInterval",
}  # fmt: skip


def apply_changes(config: Config, changes: Sequence[str]) -> None:
    """Carry out instructions on the ``config`` member of an image's configuration, in place.

    :param changes: one instruction each, or several lines of them.
    :raises InvalidInput: an instruction is unknown, not allowed here, or malformed.
    """
    for line in "\n".join(changes).replace("\\\n", " ").splitlines():
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        word, _, rest = text.partition(" ")
        instruction = _INSTRUCTIONS.get(word.upper())
        if instruction is None:
            raise InvalidInput(f"{word.upper()} is not a valid change command")
        if not rest.strip():
            raise InvalidInput(f"{word.upper()} requires at least one argument")
        instruction(config, rest.strip())


def _command(config: Config, rest: str) -> None:
    config["Cmd"] = _words(config, rest)


def _entrypoint(config: Config, rest: str) -> None:
    config["Entrypoint"] = _words(config, rest)


def _words(config: Config, rest: str) -> list[str]:
    listed = _json_list(rest)
    return [*(config.get("Shell") or _SHELL), rest] if listed is None else listed


def _env(config: Config, rest: str) -> None:
    entries = {entry.partition("=")[0]: entry for entry in config.get("Env") or []}
    for key, value in _pairs("ENV", rest, _variables(config)):
        entries[key] = f"{key}={value}"  # in its place, as in Docker
    config["Env"] = list(entries.values())


def _label(config: Config, rest: str) -> None:
    config["Labels"] = {**(config.get("Labels") or {}), **dict(_pairs("LABEL", rest, _variables(config)))}


def _expose(config: Config, rest: str) -> None:
    ports = dict(config.get("ExposedPorts") or {})
    for word in expand_words(rest, _variables(config)):
        match = _PORT.fullmatch(word)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
        if match is None or not 0 < first <= last <= 65535:
            raise InvalidInput(f"invalid containerPort: {word}")
        for port in range(first, last + 1):
            ports[f"{port}/{(match[3] or 'tcp').lower()}"] = {}
    config["ExposedPorts"] = ports


def _on_build(config: Config, rest: str) -> None:
    trigger = rest.partition(" ")[0].upper()
    if trigger == "ONBUILD":
        raise InvalidInput("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if trigger in ("FROM", "MAINTAINER"):
        raise InvalidInput(f"{trigger} isn't allowed as an ONBUILD trigger")
    config["OnBuild"] = [*(config.get("OnBuild") or []), rest]


def _stop_signal(config: Config, rest: str) -> None:
    config["StopSignal"] = _single("STOPSIGNAL", rest, config)


def _user(config: Config, rest: str) -> None:
    config["User"] = _single("USER", rest, config)


def _volume(config: Config, rest: str) -> None:
    paths = _json_list(rest)
    known = _variables(config)
    paths = expand_words(rest, known) if paths is None else [expand(path, known) for path in paths]
    if not paths or not all(path.strip() for path in paths):
        raise InvalidInput("VOLUME specified can not be an empty string")
    config["Volumes"] = {**(config.get("Volumes") or {}), **{path: {} for path in paths}}


def _working_directory(config: Config, rest: str) -> None:
    """A relative one starts from the one before."""
    rest = expand(rest, _variables(config))
    path = rest if rest.startswith("/") else f"{config.get('WorkingDir') or '/'}/{rest}"
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    config["WorkingDir"] = "/" + "/".join(parts)


def _shell(config: Config, rest: str) -> None:
    words = _json_list(rest)
    if not words:
        raise InvalidInput("SHELL requires the arguments to be in JSON form")
    config["Shell"] = words


def _healthcheck(config: Config, rest: str) -> None:
    check: dict[str, Any] = {}
    while rest.startswith("--"):
        flag, _, rest = rest.partition(" ")
        name, _, value = flag[2:].partition("=")
        rest = rest.lstrip()
        if name == "retries" and _RETRIES.fullmatch(value):
            check["Retries"] = int(value)
        elif name in _HEALTH_FLAGS:
            check[_HEALTH_FLAGS[name]] = _nanoseconds(name, value)
        else:
            raise InvalidInput(f"unknown or malformed flag of HEALTHCHECK: {flag!r}")
    kind, _, command = rest.partition(" ")
    if kind.upper() == "NONE":
        config["Healthcheck"] = {"Test": ["NONE"]}
        return
    if kind.upper() != "CMD" or not command.strip():
        raise InvalidInput(f"Unknown type {kind!r} in HEALTHCHECK (try CMD)")
    words = _json_list(command.strip())
    check["Test"] = ["CMD-SHELL", command.strip()] if words is None else ["CMD", *words]
    config["Healthcheck"] = check


def _nanoseconds(name: str, value: str) -> int:
    try:
        found = parse_duration(value)
    except ValueError:
        found = -1
    if found < 0:
        raise InvalidInput(f"invalid duration of HEALTHCHECK --{name}: {value!r}")
    return found


def _single(word: str, rest: str, config: Config) -> str:
    if len(rest.split()) != 1:
        raise InvalidInput(f"{word} requires exactly one argument")
    return expand(rest, _variables(config))


def _variables(config: Config) -> dict[str, str]:
    """The variables of an instruction: the environment before it."""
    pairs = (entry.partition("=") for entry in config.get("Env") or [])
    return {name: value for name, _, value in pairs}


def _json_list(text: str) -> list[str] | None:
    """The words, where the text is a JSON list of strings; anything else is for the shell, as in a Dockerfile."""
    if not text.startswith("["):
        return None
    try:
        words = json.loads(text)
    except ValueError:
        return None
    return words if isinstance(words, list) and all(isinstance(word, str) for word in words) else None


def _pairs(word: str, text: str, variables: dict[str, str]) -> list[tuple[str, str]]:
    """``a=1 b="x y" c=x\\ y``, or the old form ``a everything else``."""
    first = text.split(maxsplit=1)
    if "=" not in first[0]:
        if len(first) < 2:
            raise InvalidInput(f"{word} must have two arguments")
        return [(expand(first[0], variables), expand(first[1], variables))]
    pairs = []
    for token in _tokens(text):
        key, equals, value = token.partition("=")
        if not equals:
            raise InvalidInput(f"Syntax error - can't find = in {token!r}. Must be of the form: name=value")
        name = expand(key, variables)
        if not name:
            raise InvalidInput(f"{word} names can not be blank")
        pairs.append((name, expand(value, variables)))
    return pairs


def _tokens(text: str) -> list[str]:
    """Words as the shell divides them, quotes and backslashes kept."""
    return re.findall(r"""(?:[^\s"'\\]|\\.|"(?:[^"\\]|\\.)*"|'[^']*'|["'\\])+""", text)


_INSTRUCTIONS: Final[dict[str, Callable[[Config, str], None]]] = {
    "CMD": _command,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "ONBUILD": _on_build,
    "SHELL": _shell,
    "STOPSIGNAL": _stop_signal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _working_directory,
}
