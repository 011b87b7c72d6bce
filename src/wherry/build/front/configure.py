"""Instructions that say something about the image's containers; WORKDIR makes its directory as well."""

from __future__ import annotations

import re
from typing import Any, Final

from wherry.build.dockerfile.instructions import (
    Arg,
    ArgPair,
    Cmd,
    CommandLine,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Label,
    Maintainer,
    Onbuild,
    Shell,
    Stopsignal,
    User,
    Volume,
    Workdir,
)
from wherry.build.front.arguments import NOT_FOR_STEPS
from wherry.build.front.copying import chown_of, looked_up
from wherry.build.front.drafts import Draft
from wherry.build.front.names import instruction_name
from wherry.build.front.paths import absolute
from wherry.build.front.ports import PortWord
from wherry.build.front.scope import Work
from wherry.build.front.text import bracketed, duration
from wherry.build.model.graph import NO_INPUT, FileAction, FileOp, MakeDirectory
from wherry.docker.quoting import quoted
from wherry.errors import InvalidInput

__all__ = [
    "arg", "cmd", "entrypoint", "env", "expose", "healthcheck", "label", "maintainer", "onbuild", "shell",
    "stopsignal", "user", "volume", "workdir",
]  # fmt: skip

_SIGNALS: Final = frozenset(
    "ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT STOP SYS TERM TRAP "
    "TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ RTMIN RTMAX".split()
)
_REAL_TIME: Final = re.compile(r"RTMIN\+(?:[1-9]|1[0-5])|RTMAX-(?:[1-9]|1[0-4])")
_MOST_PORTS: Final = 1 << 16


def env(work: Work, instruction: Env) -> None:
    """ENV."""
    for pair in instruction.pairs:
        if pair.legacy:
            work.scope.lint.legacy_pair(instruction)
        work.scope.lint.secret_name("ENV", pair.name, instruction)
        work.image.set_environment(work.environment.set(pair.name, pair.value))
    work.history(" ".join(["ENV", *(f"{pair.name}={pair.value}" for pair in instruction.pairs)]))


def label(work: Work, instruction: Label) -> None:
    """LABEL."""
    labels: dict[str, str] = work.image.config.setdefault("Labels", {})
    for pair in instruction.pairs:
        if pair.legacy:
            work.scope.lint.legacy_pair(instruction)
        labels[pair.name] = pair.value
    work.history(" ".join(["LABEL", *(f"{pair.name}={pair.value}" for pair in instruction.pairs)]))


def arg(work: Work, instruction: Arg) -> None:
    """ARG: the client's value, or the default, or that of an argument before the first FROM."""
    words = ["ARG"]
    for pair in instruction.pairs:
        work.scope.lint.secret_name("ARG", pair.name, instruction)
        value = _argument(work, pair, instruction)
        work.stage.arguments[pair.name] = value
        if value is not None and pair.name not in NOT_FOR_STEPS:
            work.environment.set(pair.name, value)
        words.append(pair.name if value is None else f"{pair.name}={value}")
    work.history(" ".join(words))


def _argument(work: Work, pair: ArgPair, instruction: Arg) -> str | None:
    given = work.scope.options.build_args.get(pair.name)
    outline = work.stage.outline
    outline.used[pair.name] = None
    if given is None and pair.default is None and pair.name in work.scope.arguments:
        return work.scope.arguments[pair.name]
    value = given
    if value is None and pair.default is not None:
        value = work.expand(pair.default)
    outline.arguments[pair.name] = (pair, value or "", instruction.ranges)
    return value


def user(work: Work, instruction: User) -> None:
    """USER."""
    work.image.set("User", instruction.user)
    work.history(f"USER {instruction.user}")


def workdir(work: Work, instruction: Workdir) -> None:
    """WORKDIR: makes the directory."""
    if not work.stage.has_working_directory:
        work.scope.lint.relative_working_directory(instruction)
    work.stage.has_working_directory = True
    directory = absolute(instruction.path, work.directory) if instruction.path else work.directory
    work.image.set("WorkingDir", directory)
    if directory != "/":
        _make(work, instruction, directory)
    work.history(f"WORKDIR {directory}", layer=directory != "/")


def _make(work: Work, instruction: Workdir, directory: str) -> None:
    base = work.stage.root
    onto = NO_INPUT if base is None else 0
    chown = looked_up(chown_of(work.image.user), onto)
    action = MakeDirectory(directory, 0o755, parents=True, chown=chown, timestamp=work.scope.timestamp)
    name = work.title(instruction_name(instruction, work.scope.lexer, work.environment))
    work.stage.root = Draft(
        FileOp((FileAction(action, onto, output=0),)),
        () if base is None else (base,),
        platform=work.platform,
        metadata=work.scope.metadata(name, instruction),
    )


def cmd(work: Work, instruction: Cmd) -> None:
    """CMD."""
    _once(work, instruction, "CMD")
    args = _command(work, instruction.command, instruction)
    work.image.set("Cmd", args)
    work.image.set("ArgsEscaped", True)
    work.history(f"CMD {bracketed(map(quoted, args))}")


def entrypoint(work: Work, instruction: Entrypoint) -> None:
    """ENTRYPOINT: the base's CMD means nothing to it."""
    _once(work, instruction, "ENTRYPOINT")
    args = _command(work, instruction.command, instruction)
    work.image.set("Entrypoint", args)
    if "CMD" not in work.stage.set_once:
        work.image.set("Cmd", None)
    work.history(f"ENTRYPOINT {bracketed(map(quoted, args))}")


def _command(work: Work, command: CommandLine, instruction: Cmd | Entrypoint) -> list[str]:
    if not command.shell:
        return list(command.args)
    if not work.image.has_shell:
        work.scope.lint.shell_form(instruction)
    return [*work.image.shell, " ".join(command.args)]


def _once(work: Work, instruction: Cmd | Entrypoint | Healthcheck, name: str) -> None:
    before = work.stage.set_once.get(name)
    if before is not None:
        work.scope.lint.given_again(instruction, before)
    work.stage.set_once[name] = instruction


def healthcheck(work: Work, instruction: Healthcheck) -> None:
    """HEALTHCHECK."""
    _once(work, instruction, "HEALTHCHECK")
    numbers = {
        "Interval": instruction.interval,
        "Timeout": instruction.timeout,
        "StartPeriod": instruction.start_period,
        "StartInterval": instruction.start_interval,
        "Retries": instruction.retries,
    }
    found: dict[str, Any] = {"Test": list(instruction.test)} if instruction.test else {}
    work.image.set("Healthcheck", found | {name: value for name, value in numbers.items() if value})
    shown = [f"{name}:{value if name == 'Retries' else duration(value)}" for name, value in numbers.items()]
    work.history(f"HEALTHCHECK {{Test:{bracketed(instruction.test)} {' '.join(shown)}}}")


def expose(work: Work, instruction: Expose) -> None:
    """EXPOSE."""
    words: list[str] = []
    for text in instruction.ports:
        words += work.scope.lexer.words(text, work.environment)
    ports: list[str] = []
    for word in words:
        found = PortWord.parse(word)
        work.scope.lint.port(found, instruction)
        ports += found.ports()
        if len(ports) > _MOST_PORTS:
            raise InvalidInput(f"more than {_MOST_PORTS} ports are exposed")
    work.scope.budget.spend(0, len(ports))
    exposed: dict[str, dict[str, Any]] = work.image.config.setdefault("ExposedPorts", {})
    exposed.update((port, {}) for port in ports)
    work.history(f"EXPOSE {bracketed(ports)}")


def volume(work: Work, instruction: Volume) -> None:
    """VOLUME."""
    if not all(instruction.paths):
        raise InvalidInput("VOLUME specified can not be an empty string")
    volumes: dict[str, dict[str, Any]] = work.image.config.setdefault("Volumes", {})
    volumes.update((path, {}) for path in instruction.paths)
    work.history(f"VOLUME {bracketed(instruction.paths)}")


def stopsignal(work: Work, instruction: Stopsignal) -> None:
    """STOPSIGNAL."""
    _check_signal(instruction.signal)
    work.image.set("StopSignal", instruction.signal)
    work.history(f"STOPSIGNAL {instruction.signal}")


def _check_signal(text: str) -> None:
    if re.fullmatch(r"[+-]?[0-9]{1,9}", text):
        known = int(text) != 0
    else:
        name = text.upper().removeprefix("SIG")
        known = name in _SIGNALS or _REAL_TIME.fullmatch(name) is not None
    if not known:
        raise InvalidInput(f"invalid signal: {text}")


def shell(work: Work, instruction: Shell) -> None:
    """SHELL."""
    work.image.set("Shell", list(instruction.args))
    work.history(f"SHELL {bracketed(instruction.args)}")


def maintainer(work: Work, instruction: Maintainer) -> None:
    """MAINTAINER."""
    work.image.set_author(instruction.author)
    work.history(f"MAINTAINER {instruction.author}")


def onbuild(work: Work, instruction: Onbuild) -> None:
    """ONBUILD: for those who build from this image."""
    triggers: list[str] = work.image.config.setdefault("OnBuild", [])
    work.scope.budget.spend(len(instruction.trigger), 1)
    triggers.append(instruction.trigger)
