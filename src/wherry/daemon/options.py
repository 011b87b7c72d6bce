"""The options of ``wherryd``: one table, from which both the flags and the configuration file come.

The names are dockerd's where the meaning is the same (``dockerd(8)``, ``daemon.json``). As with dockerd an option may
stand on the command line or in the file, not in both: which of the two counts would be a guess.
"""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from wherry import __version__
from wherry.daemon.device_options import DEVICE_OPTIONS, cdi_spec_dirs, storage_size
from wherry.daemon.docker_options import check_features, check_foreign
from wherry.daemon.network_options import NETWORK_OPTIONS, network_options
from wherry.daemon.option import Option
from wherry.daemon.runtime_options import RUNTIME_OPTIONS, default_runtime, runtimes
from wherry.docker.units import parse_size
from wherry.engine.settings import (
    DEFAULT_DATA_ROOT,
    DEFAULT_EXEC_ROOT,
    DEFAULT_LOG_DRIVER,
    RegistryOptions,
    Settings,
    Ulimit,
)
from wherry.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

DEFAULT_CONFIG_FILE: Final = Path("/etc/wherry/daemon.json")
LOG_LEVELS: Final = ("debug", "info", "warn", "error", "fatal")
LOG_FORMATS: Final = ("text", "json")
IPC_MODES: Final = ("private", "shareable")
CGROUPNS_MODES: Final = ("private", "host")
_PROXIES: Final = ("http-proxy", "https-proxy", "no-proxy")


@dataclass(frozen=True, slots=True)
class Tls:
    """What mutual TLS needs; all three files or nothing."""

    ca: Path  #: signs the clients' certificates
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Options:
    """All options of the daemon."""

    settings: Settings
    hosts: tuple[str, ...]
    pid_file: Path
    config_file: Path
    log_level: str = "info"
    group: str | None = None  #: None: ``wherry``, if there is such a group
    tls: Tls | None = None
    docker_socket: bool = False
    daemonize: bool = False
    log_format: str = "text"
    metrics: str = ""  #: HOST:PORT where Prometheus finds figures; empty: nowhere
    proxies: Mapping[str, str] = field(default_factory=dict)  #: by the names of their variables
    validate: bool = False  #: say whether this is a configuration, and end


OPTIONS: Final = (
    Option(
        ("-H", "--host"), "hosts", "list", "where to listen: unix://PATH, fd://, tcp://HOST:PORT (repeatable)", "HOST"
    ),
    Option(("--data-root",), "data-root", "text", f"what outlives a reboot (default {DEFAULT_DATA_ROOT})", "DIR"),
    Option(("--exec-root",), "exec-root", "text", f"what does not (default {DEFAULT_EXEC_ROOT})", "DIR"),
    Option(
        ("-p", "--pidfile"),
        "pidfile",
        "text",
        "where the process ID is written (default EXEC-ROOT/wherryd.pid)",
        "FILE",
    ),
    Option(("--config-file",), "", "text", f"configuration in JSON (default {DEFAULT_CONFIG_FILE})", "FILE"),
    Option(("-D", "--debug"), "debug", "switch", "log everything"),
    Option(("-l", "--log-level"), "log-level", "text", f"one of {', '.join(LOG_LEVELS)} (default info)", "LEVEL"),
    Option(
        ("-G", "--group"),
        "group",
        "text",
        "owner of the unix sockets (default wherry, if there is such a group)",
        "GROUP",
    ),
    Option(("--log-format",), "log-format", "text", f"{' or '.join(LOG_FORMATS)} (default text)", "FORMAT"),
    Option(
        ("--metrics-addr",),
        "metrics-addr",
        "text",
        "where Prometheus may ask (default nowhere)",
        "HOST:PORT",
    ),
    Option(("--label",), "labels", "list", "key=value, shown by info (repeatable)", "LABEL"),
    Option(
        ("--default-ulimit",),
        "default-ulimits",
        "ulimits",
        "NAME=SOFT[:HARD] for every container (repeatable)",
        "LIMIT",
    ),
    Option(
        ("--shutdown-timeout",),
        "shutdown-timeout",
        "number",
        "seconds that containers get to end (default 15)",
        "SECONDS",
    ),
    Option(
        ("--log-driver",),
        "log-driver",
        "text",
        "json-file, local, none, or to send logs elsewhere: syslog, journald, fluentd, gelf (default json-file)",
        "NAME",
    ),
    Option(("--log-opt",), "log-opts", "map", "key=value for the log driver (repeatable)", "OPTION"),
    Option(("--cgroup-parent",), "cgroup-parent", "text", "the cgroup above every container's", "PATH"),
    Option(("--default-ipc-mode",), "default-ipc-mode", "text", "private or shareable (default private)", "MODE"),
    Option(
        ("--default-cgroupns-mode",),
        "default-cgroupns-mode",
        "text",
        "private or host (default private; on cgroup v1 host for privileged containers)",
        "MODE",
    ),
    Option(("--default-shm-size",), "default-shm-size", "text", "size of /dev/shm (default 64m)", "BYTES"),
    Option(("--seccomp-profile",), "seccomp-profile", "text", "a profile in JSON, or unconfined", "FILE"),
    Option(("--no-new-privileges",), "no-new-privileges", "switch", "set no_new_privs in every container"),
    Option(("--init",), "init", "switch", "run an init process in every container"),
    Option(("--init-path",), "init-path", "text", "that of other runtimes (default docker-init)", "FILE"),
    Option(
        ("--insecure-registry",),
        "insecure-registries",
        "list",
        "a registry or network without TLS (repeatable)",
        "NAME",
    ),
    Option(("--registry-mirror",), "registry-mirrors", "list", "asked before Docker Hub (repeatable)", "URL"),
    Option(
        ("--max-concurrent-downloads",), "max-concurrent-downloads", "number", "layers at once (default 3)", "NUMBER"
    ),
    Option(("--max-concurrent-uploads",), "max-concurrent-uploads", "number", "layers at once (default 5)", "NUMBER"),
    Option(("--max-download-attempts",), "max-download-attempts", "number", "for what may pass (default 5)", "NUMBER"),
    Option(("--http-proxy",), "http-proxy", "text", "the proxy for http, to registries and other servers", "URL"),
    Option(("--https-proxy",), "https-proxy", "text", "the proxy for https", "URL"),
    Option(("--no-proxy",), "no-proxy", "text", "names and addresses to be reached without, with commas", "LIST"),
    Option((), "proxies", "object", "http-proxy, https-proxy and no-proxy, in one object"),
    Option((), "builder", "object", "limits of the build cache, and what builds may ask for"),
    Option((), "features", "object", "buildkit: whether clients shall build by BuildKit's API; cdi: devices by name"),
    *DEVICE_OPTIONS,
    *RUNTIME_OPTIONS,
    *NETWORK_OPTIONS,
    Option(("--tls",), "tls", "switch", "as --tlsverify"),
    Option(("--tlsverify",), "tlsverify", "switch", "listen on tcp:// for clients with a certificate only"),
    Option(("--tlscacert",), "tlscacert", "text", "signs the clients' certificates", "FILE"),
    Option(("--tlscert",), "tlscert", "text", "the daemon's certificate", "FILE"),
    Option(("--tlskey",), "tlskey", "text", "the daemon's key", "FILE"),
    Option(("--docker-socket",), "docker-socket", "switch", "listen on /var/run/docker.sock as well"),
    Option(("--daemonize",), "", "switch", "go to the background once everything answers"),
    Option(("--validate",), "", "switch", "say whether flags and file are a configuration, and end"),
)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InvalidInput(message, hint="see wherryd --help")


_REPEATED: Final = frozenset(("list", "map", "ulimits", "pools", "maps"))


def parse(arguments: Sequence[str]) -> Options:
    """Return what the command line and the configuration file say together.

    :param arguments: without the program's name.
    :raises InvalidInput: something is unknown, malformed, given twice, or does not fit together.
    """
    flags = {name: value for name, value in vars(_parser().parse_args(arguments)).items() if value is not None}
    config_file = Path(flags.get("config_file", DEFAULT_CONFIG_FILE))
    return _combine(flags, read_config_file(config_file, must_exist="config_file" in flags), config_file)


def reread(options: Options) -> Options:
    """Return the options with what may change while the daemon runs: labels, log level and debug.

    What came from the command line stays (it cannot be in the file as well).

    :raises InvalidInput: the file is wrong; then nothing changes.
    """
    values = read_config_file(options.config_file, must_exist=False)
    settings = options.settings
    if "label" in values:
        settings = replace(settings, labels=_labels(values["label"]))
    if "debug" in values:
        settings = replace(settings, debug=values["debug"])
    return replace(options, settings=settings, log_level=_log_level(values, options.log_level))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="wherryd",
        description="The daemon of wherry: containers, behind the Docker Engine API.",
        allow_abbrev=False,
    )
    parser.add_argument("-v", "--version", action="version", version=f"wherryd version {__version__}")
    for option in OPTIONS:
        if not option.flags:
            continue
        arguments: dict[str, Any] = {"help": option.help, "dest": option.name, "default": None}
        if option.kind == "switch":
            arguments |= {"nargs": "?", "const": True, "type": _switch, "metavar": "true|false"}
        else:
            arguments |= {"metavar": option.metavar, "type": int if option.kind == "number" else str}
            arguments |= {"action": "append"} if option.kind in _REPEATED else {}
        parser.add_argument(*option.flags, **arguments)
    return parser


def _switch(text: str) -> bool:
    if text.lower() in {"1", "t", "true"}:
        return True
    if text.lower() in {"0", "f", "false"}:
        return False
    raise argparse.ArgumentTypeError(f'invalid boolean value "{text}"')


def read_config_file(path: Path, *, must_exist: bool) -> dict[str, Any]:
    """Return the values of the configuration file, by the names that flags have, in the form that flags have.

    :raises InvalidInput: unreadable, not a JSON object, or with a member that is unknown or of the wrong type.
    """
    try:
        members = json.loads(path.read_bytes() or b"{}")
    except FileNotFoundError:
        if must_exist:
            raise InvalidInput(f"unable to read the configuration file {path}: no such file") from None
        return {}
    except (OSError, ValueError) as error:
        raise InvalidInput(f"unable to read the configuration file {path}", cause=str(error)) from error
    if not isinstance(members, dict):
        raise InvalidInput(f"the configuration file {path} is not a JSON object")
    former = members.pop("host-gateway-ip", None)
    if former is not None and members.setdefault("host-gateway-ips", [former]) != [former]:
        raise InvalidInput("host-gateway-ip and host-gateway-ips must not both be specified in the config file")
    ours: dict[str, Any] = {}
    warnings: list[str] = []
    known = {option.key for option in OPTIONS}
    for key, value in members.items():
        warning = None if key in known else check_foreign(key, value)
        if warning is None:
            name, read = _file_value(path, key, value)
            ours[name] = read
        elif warning:
            warnings.append(warning)
    for key, value in ours.pop("proxies", {}).items():
        if key not in _PROXIES or not isinstance(value, str):
            raise InvalidInput(f'invalid member "{key}" of "proxies" in {path}: it must be a text, {_PROXIES}')
        ours[key.replace("-", "_")] = value
    return {**ours, "warnings": warnings} if warnings else ours


def _file_value(path: Path, key: str, value: Any) -> tuple[str, Any]:
    option = next((option for option in OPTIONS if key and option.key == key), None)
    if option is None:
        raise InvalidInput(f"the following directives don't match any configuration option: {key}", cause=f"in {path}")
    try:
        return option.name, _FROM_FILE[option.kind](value)
    except (TypeError, ValueError, KeyError, AttributeError):
        raise InvalidInput(
            f'invalid value {json.dumps(value)} for "{key}" in {path}: it must be a {option.kind}'
        ) from None


def _typed(kind: type) -> Any:
    def check(value: Any) -> Any:
        if type(value) is not kind:
            raise TypeError
        return value

    return check


def _text(value: Any) -> str:
    return str(value) if type(value) is int else _typed(str)(value)


_FROM_FILE: Final[Mapping[str, Any]] = {
    "text": _text,
    "number": _typed(int),
    "switch": _typed(bool),
    "list": lambda value: [_typed(str)(item) for item in _typed(list)(value)],
    "map": lambda value: [f"{name}={_typed(str)(item)}" for name, item in value.items()],
    "pools": lambda value: [f"base={_typed(str)(pool['base'])},size={_typed(int)(pool['size'])}" for pool in value],
    "maps": lambda value: [
        f"{driver}={name}={_typed(str)(item)}" for driver, options in value.items() for name, item in options.items()
    ],
    "object": _typed(dict),
    "ulimits": lambda value: [f"{name}={limit['Soft']}:{limit['Hard']}" for name, limit in value.items()],
}


def _combine(flags: dict[str, Any], file: dict[str, Any], config_file: Path) -> Options:
    if both := [name for name in flags if name in file]:
        shown = ", ".join(
            f"{name.replace('_', '-')}: (from flag: {flags[name]}, from file: {file[name]})" for name in both
        )
        raise InvalidInput(
            f"unable to configure the daemon with file {config_file}: the following directives are specified both as a "
            f"flag and in the configuration file: {shown}"
        )
    values = flags | file
    settings = _settings(values)
    return Options(
        settings=settings,
        hosts=tuple(values.get("host", ())) or (f"unix://{settings.exec_root}/wherry.sock",),
        pid_file=Path(values.get("pidfile", settings.exec_root / "wherryd.pid")).absolute(),
        config_file=config_file,
        log_level=_log_level(values, "info"),
        group=values.get("group"),
        tls=_tls(values),
        docker_socket=values.get("docker_socket", False),
        daemonize=values.get("daemonize", False),
        log_format=_choice(values, "log_format", LOG_FORMATS) or "text",
        metrics=_metrics_address(values.get("metrics_addr", "")),
        proxies={name.upper(): values[name] for name in ("http_proxy", "https_proxy", "no_proxy") if name in values},
        validate=values.get("validate", False),
    )


def _choice(values: dict[str, Any], name: str, known: Sequence[str]) -> str | None:
    value = values.get(name)
    if value and value not in known:
        raise InvalidInput(f'invalid value "{value}" for "{name.replace("_", "-")}": it must be {" or ".join(known)}')
    return value or None


def _metrics_address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if text and not (host and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise InvalidInput(f'invalid value "{text}" for "metrics-addr": it must be HOST:PORT')
    return text


def _settings(values: dict[str, Any]) -> Settings:
    given: dict[str, Any] = {
        "data_root": _directory(values.get("data_root")),
        "exec_root": _directory(values.get("exec_root")),
        "labels": _labels(values.get("label", [])),
        "debug": values.get("debug"),
        "shutdown_timeout": values.get("shutdown_timeout"),
        "log_driver": values.get("log_driver") or None,
        "log_options": _log_options(values),
        "cgroup_parent": values.get("cgroup_parent"),
        "ipc_mode": _choice(values, "default_ipc_mode", IPC_MODES),
        "cgroupns_mode": _choice(values, "default_cgroupns_mode", CGROUPNS_MODES),
        "warnings": (*values.get("warnings", ()), *_without_effect(values)) or None,
        "cdi_spec_dirs": cdi_spec_dirs(values),
        "storage_size": storage_size(values.get("storage_opt", [])),
        "shm_size": size(values["default_shm_size"]) if "default_shm_size" in values else None,
        "ulimits": tuple(_ulimit(text) for text in values.get("default_ulimit", [])),
        "seccomp_profile": values.get("seccomp_profile"),
        "no_new_privileges": values.get("no_new_privileges"),
        "init": values.get("init"),
        "init_path": values.get("init_path") or None,
        "runtimes": (others := runtimes(values)) or None,
        "default_runtime": default_runtime(values, others),
        "networks": network_options(values),
        "registries": _registries(values),
        "builder": _builder(values),
        "buildkit": _buildkit(values),
    }
    return Settings(**{name: value for name, value in given.items() if value is not None})


def _log_options(values: dict[str, Any]) -> dict[str, str]:
    given = dict(_pair(text, "log option") for text in values.get("log_opt", []))
    driver = values.get("log_driver") or DEFAULT_LOG_DRIVER
    if given or driver != DEFAULT_LOG_DRIVER:
        from wherry.engine.log_drivers.config import check_log_options  # noqa: PLC0415 - expressions, only when needed
        from wherry.engine.log_drivers.table import find_log_driver  # noqa: PLC0415

        found = find_log_driver(driver)
        check_log_options(given, found)
        found.check_all({**found.defaults, **given})
    return given


def _builder(values: dict[str, Any]) -> dict[str, Any]:
    given: dict[str, Any] = values.get("builder") or {}
    if given:
        from wherry.build.cache.policy import parse_settings  # noqa: PLC0415 - a start without it needs no builder

        parse_settings(given)
    return given


def _without_effect(values: dict[str, Any]) -> Iterator[str]:
    if given := values.get("builder"):
        from wherry.build.cache.policy import without_effect  # noqa: PLC0415 - a start without it needs no builder

        yield from without_effect(given)
    yield from check_features(values.get("features") or {})


def _buildkit(values: dict[str, Any]) -> bool | None:
    """One of Docker's features."""
    wanted = (values.get("features") or {}).get("buildkit")
    if not isinstance(wanted, bool | None):
        raise InvalidInput(f"invalid value for the feature buildkit: {json.dumps(wanted)[:100]}: true or false")
    return wanted


def _registries(values: dict[str, Any]) -> RegistryOptions:
    for name in ("max_concurrent_downloads", "max_concurrent_uploads", "max_download_attempts"):
        if values.get(name, 1) < 1:
            raise InvalidInput(f"invalid value for --{name.replace('_', '-')}: {values[name]}: it must be at least 1")
    for entry in values.get("insecure_registry", []):
        if "://" in entry:
            raise InvalidInput(f"insecure registry {entry} should not contain '://'")
    for entry in values.get("registry_mirror", []):
        if not re.fullmatch(r"https?://[^/?#@\s]+(/[^?#\s]*)?", entry):
            raise InvalidInput(f"invalid mirror: {json.dumps(entry)} is not a valid URI of http or https")
    given: dict[str, Any] = {
        "insecure": tuple(values.get("insecure_registry", [])),
        "mirrors": tuple(text.rstrip("/") for text in values.get("registry_mirror", [])),
        "max_downloads": values.get("max_concurrent_downloads"),
        "max_uploads": values.get("max_concurrent_uploads"),
        "max_attempts": values.get("max_download_attempts"),
    }
    return RegistryOptions(**{name: value for name, value in given.items() if value is not None})


def _directory(text: str | None) -> Path | None:
    return Path(text).absolute() if text else None


def _labels(texts: list[str]) -> tuple[str, ...]:
    for text in texts:
        _pair(text, "label")
    return tuple(texts)


def _pair(text: str, what: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InvalidInput(f'invalid {what} "{text}": it must be key=value')
    return name, value


def _ulimit(text: str) -> Ulimit:
    match = re.fullmatch(r"([a-z]+)=(-?\d+)(?::(-?\d+))?", text)
    if not match:
        raise InvalidInput(f'invalid ulimit "{text}": it must be NAME=SOFT[:HARD]')
    name, soft, hard = match.groups()
    limit = Ulimit(name, int(soft), int(hard or soft))
    if limit.hard != -1 and (limit.soft == -1 or limit.soft > limit.hard):
        raise InvalidInput(f"ulimit soft limit must be less than or equal to hard limit: {limit.soft} > {limit.hard}")
    return limit


def size(text: str) -> int:
    """Return a number of bytes.

    :param text: ``"64m"``, ``"1.5g"``, ``"1024"``; units are powers of 1024.
    :raises InvalidInput: it is not one.
    """
    try:
        return parse_size(text.strip())
    except ValueError as exc:
        raise InvalidInput(f"invalid size: '{text}'") from exc


def _log_level(values: dict[str, Any], default: str) -> str:
    if values.get("debug"):
        return "debug"
    level = values.get("log_level", default)
    if level not in LOG_LEVELS:
        raise InvalidInput(f'invalid log level "{level}": it must be one of {", ".join(LOG_LEVELS)}')
    return str(level)


def _tls(values: dict[str, Any]) -> Tls | None:
    if not (values.get("tls") or values.get("tlsverify")):
        return None
    names = ("tlscacert", "tlscert", "tlskey")
    if missing := [f"--{name}" for name in names if name not in values]:
        raise InvalidInput(f"TLS needs {', '.join(missing)}")
    return Tls(*(Path(values[name]) for name in names))
