"""Candidates for the values of flags and for arguments: constants, and names from the daemon."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from wherry.cli.context import Context

    Source = Callable[[Context], Iterable[str]]
    Arguments = tuple[tuple[int | None, Source | Sequence[str]], ...]

__all__ = ["FILTERS", "argument_values", "flag_values"]

# --- names


def _containers(*states: str) -> Source:
    """The names of containers in one of these states, or of all containers."""

    def names(context: Context) -> Iterable[str]:
        found = context.client.containers.list(all=True)
        return [
            name.removeprefix("/") for one in found if not states or one["State"] in states for name in one["Names"]
        ]

    return names


def _images(context: Context) -> Iterable[str]:
    return [name for one in context.client.images.list() for name in one.get("RepoTags") or ()]


def _builds(context: Context) -> Iterable[str]:
    return [str(one["Ref"]) for one in context.client.builds.list()]


def _networks(context: Context) -> Iterable[str]:
    return [one["Name"] for one in context.client.networks.list()]


def _contexts(context: Context) -> Iterable[str]:
    from wherry.cli.daemon.contexts import DEFAULT, Contexts

    return [DEFAULT, *Contexts().names()]


def _volumes(context: Context) -> Iterable[str]:
    return [one["Name"] for one in context.client.volumes.list().get("Volumes") or ()]


def _snapshots(context: Context) -> Iterable[str]:
    return [one["Name"] for one in context.client.volumes.snapshots()]


def _drivers(context: Context) -> Iterable[str]:
    return list((context.client.system.info().get("Plugins") or {}).get("Volume") or ())


def _several(*sources: Source | Sequence[str]) -> Source:
    def names(context: Context) -> Iterable[str]:
        return [name for source in sources for name in (source(context) if callable(source) else source)]

    return names


def _behind(prefix: str, source: Source) -> Source:
    return lambda context: [f"{prefix}{name}" for name in source(context)]


_ANY = _containers()
_ALIVE = _containers("running", "paused", "restarting")
_RUNNING = _containers("running")
_ONE, _MANY = 1, None


def _verbs(group: str, names: str, *arguments: tuple[int | None, Source | Sequence[str]]) -> dict[str, Arguments]:
    """The same arguments for several verbs of a group."""
    return dict.fromkeys((f"{group}.{name}" for name in names.split()), arguments)


#: By module: the candidates for its arguments, each with the number of arguments (None: any number).
_ARGUMENTS: Mapping[str, Arguments] = {
    **_verbs("container", "attach exec top", (_ONE, _RUNNING)),
    **_verbs("container", "kill restart stats stop", (_MANY, _ALIVE)),
    **_verbs("container", "commit diff explain export logs rename", (_ONE, _ANY)),
    **_verbs("container", "cp", (2, lambda context: [f"{name}:" for name in _ANY(context)])),
    **_verbs("container", "inspect rm update wait", (_MANY, _ANY)),
    **_verbs("container", "create run", (_ONE, _images)),
    **_verbs("container", "pause", (_MANY, _RUNNING)),
    **_verbs("container", "port", (_ONE, _several(_ANY, ("audit",)))),
    **_verbs("container", "start", (_MANY, _containers("created", "exited", "dead"))),
    **_verbs("container", "unpause", (_MANY, _containers("paused"))),
    **_verbs("builder", "logs", (_ONE, _several(_builds, _images))),
    **_verbs("builder", "inspect", (_MANY, _several(_builds, _images))),
    **_verbs("context", "export update use", (_ONE, _contexts)),
    **_verbs("context", "inspect rm", (_MANY, _contexts)),
    **_verbs("image", "history layers ls pull push tag", (_ONE, _images)),
    **_verbs("image", "inspect rm save", (_MANY, _images)),
    **_verbs("image", "diff", (2, _images)),
    **_verbs("network", "connect disconnect", (_ONE, _networks), (_ONE, _ANY)),
    **_verbs("network", "inspect rm", (_MANY, _networks)),
    **_verbs("network", "trace", (2, _several(_RUNNING, ("host", "outside")))),
    **_verbs("system", "inspect", (_MANY, _several(_ANY, _images, _networks, _volumes))),
    **_verbs("volume", "du inspect", (_MANY, _volumes)),
    **_verbs("volume", "rm", (_MANY, _several(_volumes, _snapshots))),
    **_verbs("volume", "snapshot snapshots update", (_ONE, _volumes)),
    **_verbs("volume", "clone export push", (_ONE, _several(_volumes, _snapshots))),
    **_verbs("volume", "restore", (_ONE, _snapshots)),
    "completion": ((_ONE, ("bash", "fish", "zsh")),),
}


def argument_values(module: str, before: Sequence[str], context: Context) -> Iterable[str]:
    """The candidates for the next argument.

    :param module: the verb's module.
    :param before: the arguments so far.
    """
    at = 0
    for count, source in _ARGUMENTS.get(module, ()):
        if count is None or len(before) < at + count:
            return source(context) if callable(source) else source
        at += count
    return ()


# --- values of flags


def _environment(context: Context) -> Iterable[str]:
    import os

    return os.environ


def _signals(context: Context) -> Iterable[str]:
    import signal

    return [one.name.removeprefix("SIG") for one in signal.Signals]


def _capabilities(context: Context) -> Iterable[str]:
    from wherry.cli.output.explain import CAPABILITIES

    return ["ALL", *(f"CAP_{name}" for name in CAPABILITIES)]


def _platforms(context: Context) -> Iterable[str]:
    names = "386 amd64 arm arm/v5 arm/v6 arm/v7 arm64 ppc64le riscv64 s390x"
    return [f"linux/{name}" for name in names.split()]


_LIMITS = "as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio sigpending stack"
_LOG_OPTIONS = (
    "cache-compress cache-disabled cache-max-file cache-max-size compress env env-regex file fluentd-address "
    "fluentd-async fluentd-async-connect fluentd-async-reconnect-interval fluentd-buffer-limit "
    "fluentd-max-retries fluentd-read-timeout fluentd-request-ack fluentd-retry-wait "
    "fluentd-sub-second-precision fluentd-write-timeout gelf-address gelf-compression-level "
    "gelf-compression-type gelf-tcp-max-reconnect gelf-tcp-reconnect-delay labels labels-regex max-buffer-size "
    "max-file max-size syslog-address syslog-facility syslog-format syslog-tls-ca-cert syslog-tls-cert "
    "syslog-tls-key syslog-tls-skip-verify tag"
)
_OTHERS = _behind("container:", _RUNNING)
_OUTPUTS = ("type=docker", "type=image", "type=local,dest=", "type=oci,dest=", "type=registry", "type=tar,dest=")
_TABLE, _JSON = ("json", "table"), ("json",)

_VALUES: Mapping[str, Source | Sequence[str]] = {
    "context": _contexts,
    "log-level": ("debug", "error", "fatal", "info", "warn"),
    "attach": ("stderr", "stdin", "stdout"),
    "cap-add": _capabilities,
    "cap-drop": _capabilities,
    "cgroupns": ("host", "private"),
    "detach-keys": ("ctrl-",),
    "env": _environment,
    "gpus": ("all",),
    "ipc": _several(("host", "none", "private", "shareable"), _OTHERS),
    "link": _RUNNING,
    "log-driver": ("fluentd", "gelf", "journald", "json-file", "local", "none", "syslog"),
    "log-opt": (*(f"{name}=" for name in _LOG_OPTIONS.split()), "mode=blocking", "mode=non-blocking"),
    "net": _several(("container:", "host", "none"), _networks, _OTHERS),
    "network": _several(("container:", "host", "none"), _networks, _OTHERS),
    "pid": _several(("host",), _OTHERS),
    "mount": ("type=bind,", "type=tmpfs,", "type=volume,"),
    "platform": _platforms,
    "progress": ("auto", "plain", "quiet", "rawjson", "tty"),
    "pull": ("always", "missing", "never"),
    "restart": ("always", "no", "on-failure", "on-failure:", "unless-stopped"),
    "security-opt": ("no-new-privileges", "seccomp=", "seccomp=unconfined", "systempaths=unconfined"),
    "signal": _signals,
    "stop-signal": _signals,
    "type": ("container", "image", "network", "volume"),
    "ulimit": [f"{name}=" for name in _LIMITS.split()],
    "storage-opt": ("size=",),
    "userns": ("host",),
    "uts": ("host",),
    "volume": lambda context: [f"{name}:" for name in _volumes(context)],
    "volume-driver": _drivers,
    "volumes-from": _ANY,
}
#: Candidates of one verb's flag, where they differ from those of other verbs.
_OWN_VALUES: Mapping[tuple[str, str], Source | Sequence[str]] = {
    ("image.build", "output"): _OUTPUTS,
    ("network.create", "driver"): ("bridge", "dummy", "ipvlan", "macvlan"),
    ("network.create", "scope"): ("local",),
    ("context.create", "from"): _contexts,
    ("volume.create", "driver"): _drivers,
    ("volume.update", "availability"): ("active", "drain", "pause"),
}
_ONLY_JSON = (
    "container.diff", "container.explain", "container.port", "image.tree", "network.trace", "system.events",
    "system.info", "system.version",
)  # fmt: skip

_TRUTH = ("false", "true")
_PRUNING: Mapping[str, Source | Sequence[str]] = {"label": (), "until": ()}
#: By module: the keys of ``--filter``, and candidates for their values.
FILTERS: Mapping[str, Mapping[str, Source | Sequence[str]]] = {
    "builder.prune": {
        "description": (), "id": (), "inuse": _TRUTH, "parent": (), "private": _TRUTH, "shared": _TRUTH, "type": (),
        "until": (), "unused-for": (),
    },
    "container.prune": _PRUNING,
    "system.events": {
        "container": _ANY, "daemon": (), "event": (), "image": _images, "label": (), "network": _networks,
        "scope": ("local",), "type": ("container", "daemon", "image", "network", "volume"), "volume": _volumes,
    },
    "image.prune": _PRUNING,
    "image.ls": {
        "before": _images, "dangling": _TRUTH, "label": (), "reference": (), "since": _images, "until": (),
    },
    "network.ls": {
        "dangling": _TRUTH, "driver": ("bridge", "dummy", "host", "ipvlan", "macvlan", "null"), "id": (), "label": (),
        "name": _networks, "scope": ("local",), "type": ("builtin", "custom"),
    },
    "network.prune": _PRUNING,
    "container.ls": {
        "ancestor": _images, "before": _ANY, "exited": (), "expose": (),
        "health": ("healthy", "none", "starting", "unhealthy"), "id": (), "is-task": _TRUTH, "isolation": (),
        "label": (), "name": _ANY, "network": _networks, "publish": (), "since": _ANY,
        "status": ("created", "dead", "exited", "paused", "removing", "restarting", "running"), "volume": _volumes,
    },
    "registry.search": {"is-automated": _TRUTH, "is-official": _TRUTH, "stars": ()},
    "system.prune": _PRUNING,
    "volume.ls": {"dangling": _TRUTH, "driver": _drivers, "label": (), "name": _volumes},
    "volume.prune": {"all": _TRUTH, "label": ()},
}  # fmt: skip


def flag_values(module: str, name: str, current: str, context: Context) -> Iterable[str]:
    """The candidates for a flag's value.

    :param module: the verb's module.
    :param name: the flag's long name.
    :param current: the part of the value that was typed.
    """
    if name == "filter":
        return _filter_values(FILTERS.get(module, {}), current, context)
    if name == "format":
        return _JSON if module in _ONLY_JSON or module.endswith("inspect") else _TABLE
    source = _OWN_VALUES.get((module, name), _VALUES.get(name, ()))
    return source(context) if callable(source) else source


def _filter_values(known: Mapping[str, Source | Sequence[str]], current: str, context: Context) -> Iterable[str]:
    key, equals, _ = current.partition("=")
    if not equals:
        return [f"{key}=" for key in known]
    source = known.get(key, ())
    return [f"{key}={value}" for value in (source(context) if callable(source) else source)]
