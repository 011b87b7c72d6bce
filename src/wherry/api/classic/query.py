"""The query of ``POST /build`` as what BuildKit calls the frontend's options, exports, caches and limits."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from wherry.api.http import gojson, query
from wherry.build.model import host_directories
from wherry.build.model.executor import Limits
from wherry.build.model.request import CacheOptions, CacheTarget, Export
from wherry.build.model.source_policy import SourcePolicy
from wherry.docker.network_mode import joined_container
from wherry.docker.reference import Reference
from wherry.errors import InvalidInput
from wherry.images.checks import writable_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from multidict import MultiMapping

__all__ = ["CLIENT_SESSION", "NAMED", "UPLOAD_REQUEST", "BuildQuery", "parse"]

CLIENT_SESSION: Final = "client-session"  #: as ``remote``: the context comes by the session
NAMED: Final = "context:"  #: what names of directories begin with that are contexts beside the main one
UPLOAD_REQUEST: Final = "upload-request"  #: as ``remote``: the context comes with another request
_UPLOAD_OF: Final = "upload-request:"  # what the ID of that other request begins with
_HOST_GATEWAY: Final = "host-gateway"
_ISOLATIONS: Final = ("", "default")
_NO_LIMIT: Final = -1
_BUILDKIT: Final = 2  #: the version that BuildKit answers
_OWN: Final = 3  #: the version of the answer that wherry's client asks for


class BuildQuery(Struct, frozen=True, kw_only=True):
    """What a client asks for.

    :param version: 1: lines of text; 2: BuildKit's messages; 3: wherry's, with all that happens.
    :param identifier: the client's own, for ``POST /build/cancel``; empty: it has none.
    :param upload_of: this is no build, but the context of the build with this identifier.
    :param remote: where the context is; empty: in the body.
    :param session: the client's; empty: it has none.
    :param removes: whether containers of steps are removed: there are none, but they are told of.
    :param removes_failed: and that of a step that fails.
    :param tags: the names that the image gets.
    :param directories: contexts beside the main one that the client sends when it is called.
    :param agents: the IDs of SSH agents that the client connects when it is called.
    :param layouts: the names of OCI layouts of which the client sends blobs when it is called.
    :param joins: the container whose network the build's steps have; empty: none. BuildKit knows no such network.
    :param policy: what may be fetched, and what instead.
    :param shell: what is to be run in a step that has failed; empty: the step's shell; None: nothing.
    """

    version: int = 1
    identifier: str = ""
    upload_of: str = ""
    remote: str = ""
    session: str = ""
    quiet: bool = False
    removes: bool = True
    removes_failed: bool = False
    tags: tuple[str, ...] = ()
    directories: frozenset[str] = frozenset()
    agents: frozenset[str] = frozenset()
    layouts: frozenset[str] = frozenset()
    options: dict[str, str] = {}
    exports: tuple[Export, ...] = ()
    cache: CacheOptions = CacheOptions()
    entitlements: frozenset[str] = frozenset()
    joins: str = ""
    binds: frozenset[str] = frozenset()
    policy: SourcePolicy = msgspec.field(default_factory=SourcePolicy)
    shell: tuple[str, ...] | None = None
    limits: Limits = Limits()

    @property
    def takes(self) -> frozenset[str]:
        """The numbers of the outputs that the client takes, when it is called."""
        if self.version != _OWN:
            return frozenset()
        return frozenset(one.number for one in self.exports if one.type not in _IMAGES)


class _Ulimit(Struct):
    Name: str = ""
    Hard: int = 0
    Soft: int = 0


class _Output(Struct):
    Type: str = ""
    Attrs: dict[str, str] = {}


_IMAGES: Final = ("moby", "image", "")  #: outputs that are images of this machine
_NOWHERE: Final = "cacheonly"
_FILES: Final = ("local", "tar")
_MOST_OUTPUTS: Final = 16
_MOST_OFFERED: Final = 64
_LONGEST_NAME: Final = 4096
_OWN_OPTION: Final = re.compile(r"requestid|no-cache|cache-imports|attest:(?:provenance|sbom)|context:[^\0]+")
_HERE: Final = ("local:", "input:")  #: contexts that come by a session


def parse(given: MultiMapping[str], host_gateway: Callable[[], str] = lambda: "") -> BuildQuery:
    """Read a query.

    :param host_gateway: gives the address that ``host-gateway`` means.
    :raises InvalidInput: a parameter makes no sense, as far as dockerd's words go in these.
    """
    _refuse_what_is_not_there(given)
    version, tags = _version(given.get("version", "")), _tags(given.getall("t", []))
    identifier, remote = given.get("buildid", ""), given.get("remote", "")
    upload_of = identifier.removeprefix(_UPLOAD_OF) if identifier.startswith(_UPLOAD_OF) else ""
    network = given.get("networkmode", "")
    options = {
        "filename": given.get("dockerfile", ""),
        "target": given.get("target", ""),
        "platform": _platform(given.getall("platform", [])),
        "image-resolve-mode": "pull" if query.flag(given, "pull") else "",
        "add-hosts": _hosts(given.getall("extrahosts", []), host_gateway),
        "force-network-mode": _network(network),
        "shm-size": _size(given, "shmsize"),
        "ulimit": _ulimits(given.get("ulimits", "")),
        "cgroup-parent": given.get("cgroupparent", ""),
        "context": "" if remote in (CLIENT_SESSION, UPLOAD_REQUEST) else _place(remote, given.get("session", "")),
    }
    options = {name: value for name, value in options.items() if value}
    if query.flag(given, "nocache"):
        options["no-cache"] = ""  # of no stage in particular: of all
    own, directories, agents = version == _OWN, frozenset[str](), frozenset[str]()
    if own:
        options |= _own_options(given.get("frontend", ""), given.get("volumes", ""))
        directories = _offered(given.get("directories", ""), "directories")
        agents = _offered(given.get("agents", ""), "agents")
        options |= {f"context:{name}": f"local:{NAMED}{name}" for name in directories}
    options |= {f"build-arg:{name}": value for name, value in _arguments(given.get("buildargs", "")).items()}
    options |= {f"label:{name}": value for name, value in _labels(given.get("labels", "")).items()}
    return BuildQuery(
        version=version,
        identifier=identifier if not upload_of else "",
        upload_of=upload_of,
        remote=remote,
        session=given.get("session", ""),
        quiet=query.flag(given, "q"),
        removes=query.flag(given, "rm", default=True) or query.flag(given, "forcerm"),
        removes_failed=query.flag(given, "forcerm"),
        tags=tags,
        directories=directories,
        agents=agents,
        layouts=_offered(given.get("layouts", ""), "layouts") if own else frozenset(),
        options=options,
        exports=() if "requestid" in options else _outputs(given, tags, own=own),
        cache=CacheOptions(
            imports=_cache_sources(given.get("cachefrom", "")),
            exports=_cache_targets(given.get("cacheto", "")) if own else (),
        ),
        entitlements=_entitlements(network, given.get("allow", "") if own else ""),
        binds=host_directories.sources(host_directories.parse(options.get(host_directories.OPTION, ""))),
        joins=(joined_container(network) or "") if version != _BUILDKIT else "",
        policy=_source_policy(given) if own else SourcePolicy(),
        shell=_shell(given) if own else None,
        limits=_limits(given),
    )


def _source_policy(given: Mapping[str, str]) -> SourcePolicy:
    return SourcePolicy.parse(text) if (text := given.get("sourcepolicy", "")) else SourcePolicy()


def _entitlements(network: str, allowed: str) -> frozenset[str]:
    return frozenset([*(["network.host"] if network == "host" else []), *_allowed(allowed)])


def _outputs(given: Mapping[str, str], tags: tuple[str, ...], *, own: bool) -> tuple[Export, ...]:
    read = _own_exports if own else _exports
    return read(given.get("outputs", ""), tags, squash=query.flag(given, "squash"))


def _place(remote: str, session: str) -> str:
    """Where a context is. Without a session it has to be an address: there is nobody to ask for a directory."""
    if not remote or session or remote.startswith(("http://", "https://")):
        return remote
    from wherry.build.front.git_reference import GitReference  # noqa: PLC0415 - few builds have such a context

    if GitReference.parse(remote, local=True) is None:
        raise InvalidInput(f"remoteURL ({remote[:200]}) could not be recognized as URL")
    return remote


def _refuse_what_is_not_there(given: Mapping[str, str]) -> None:
    isolation = given.get("isolation", "").lower()
    if isolation not in _ISOLATIONS:
        raise InvalidInput(f'Unsupported isolation: "{isolation[:40]}"')


def _version(text: str) -> int:
    if text not in ("", "1", "2", "3"):
        raise InvalidInput(f"invalid version {text[:40]}")
    return int(text or "1")


def _tags(names: list[str]) -> tuple[str, ...]:
    """The names in full, each once, in their order."""
    found: dict[Reference, None] = {}
    for name in filter(None, names):
        reference = Reference.parse(name)
        if reference.digest is not None:
            raise InvalidInput("build tag cannot contain a digest")
        found[writable_name(name)] = None
    return tuple(str(name) for name in found)


def _platform(given: list[str]) -> str:
    return ",".join(filter(None, (query.platform(text) for text in given)))


def _network(mode: str) -> str:
    """A mode, the name of one of the engine's networks, or ``container:NAME``, as the frontend has them."""
    if mode in ("", "default", "bridge"):
        return ""
    if mode in ("host", "none"):
        return mode
    return f"network:{mode}"


def _hosts(given: list[str], host_gateway: Callable[[], str]) -> str:
    """``name:address`` or ``name=address``, as fields of one line of comma-separated values."""
    fields = []
    for text in filter(None, given):
        name, mark, address = text.partition("=") if "=" in text else text.partition(":")
        if not mark or not name:
            raise InvalidInput(f"invalid host {text[:200]}")
        address = address.removeprefix("[").removesuffix("]") if address.startswith("[") else address
        if address == _HOST_GATEWAY:
            address = host_gateway()
            if not address:
                raise InvalidInput("unable to derive the IP value for host-gateway")
        fields.append(f"{name}={address}")
    return _line(fields)


def _ulimits(text: str) -> str:
    found = _json(text, list[_Ulimit], "error reading ulimit settings")
    return _line([f"{one.Name}={one.Soft}:{one.Hard}" for one in found or []])


def _line(fields: list[str]) -> str:
    written = io.StringIO()
    csv.writer(written, lineterminator="").writerow(fields)
    return written.getvalue() if fields else ""


def _arguments(text: str) -> dict[str, str]:
    """Build arguments; one without a value was named by a client whose environment has none: it is as if it was not."""
    kind: Any = dict[str, str | None]
    found: dict[str, str | None] | None = _json(text, kind, "error reading build args")
    return {name: value for name, value in (found or {}).items() if value is not None}


def _labels(text: str) -> dict[str, str]:
    return _json(text, dict[str, str], "error reading labels") or {}


def _cache_sources(text: str) -> tuple[CacheTarget, ...]:
    found = _json(text, list[str], "error reading cache sources") or []
    return tuple(CacheTarget("registry", {"ref": name}) for name in found if name)


def _cache_targets(text: str) -> tuple[CacheTarget, ...]:
    found = _json(text, list[_Output], "error reading cache targets") or []
    return tuple(CacheTarget(one.Type, one.Attrs) for one in found)


def _allowed(text: str) -> list[str]:
    return _json(text, list[str], "error reading entitlements") or []


def _offered(text: str, what: str) -> frozenset[str]:
    """Names of what the client has, and can be called for."""
    found = _json(text, list[str], f"error reading {what}") or []
    if len(found) > _MOST_OFFERED:
        raise InvalidInput(f"there are {len(found)} {what}, where {_MOST_OFFERED} are allowed")
    if any("\0" in name or not 0 < len(name) <= _LONGEST_NAME for name in found):
        raise InvalidInput(f"one of the {what} has an invalid name")
    return frozenset(found)


def _shell(given: Mapping[str, str]) -> tuple[str, ...] | None:
    """What a step that has failed is good for: ``onfailure=shell``, and as ``shell`` a command of the client's."""
    action = given.get("onfailure", "")
    if action in ("", "fail"):
        return None
    if action != "shell":
        raise InvalidInput(f"invalid onfailure {action[:40]!r}: it is fail or shell")
    return tuple(_json(given.get("shell", ""), list[str], "error reading the shell's command") or ())


def _own_options(text: str, volumes: str) -> dict[str, str]:
    """Options of the frontend that only wherry's client has.

    :param volumes: of `host_directories`.
    """
    found: dict[str, str] = _json(text, dict[str, str], "error reading frontend options") or {}
    for name, value in found.items():
        if not _OWN_OPTION.fullmatch(name) or (name.startswith("context:") and value.startswith(_HERE)):
            raise InvalidInput(f"invalid frontend option {name[:80]!r}")
    return found | ({host_directories.OPTION: volumes} if volumes else {})


def _exports(text: str, tags: tuple[str, ...], *, squash: bool) -> tuple[Export, ...]:
    """Where the result goes: to the images, unless outputs say something else."""
    outputs = _json(text, list[_Output], "error reading outputs") or []
    if len(outputs) > 1:
        raise InvalidInput("multiple outputs not supported")
    kind, attributes = (outputs[0].Type, dict(outputs[0].Attrs)) if outputs else ("moby", {})
    if kind in (*_IMAGES, "docker") and not attributes.get("dest"):
        return (Export("moby", _of_image(attributes, tags, squash=squash)),)
    if kind == _NOWHERE:
        return ()
    return (Export(kind, attributes),)


def _own_exports(text: str, tags: tuple[str, ...], *, squash: bool) -> tuple[Export, ...]:
    """Several outputs, of which wherry's client takes those that are no images of this machine."""
    outputs = _json(text, list[_Output], "error reading outputs") or [_Output()]
    if len(outputs) > _MOST_OUTPUTS:
        raise InvalidInput(f"there are {len(outputs)} outputs, where {_MOST_OUTPUTS} are allowed")
    return tuple(
        Export(
            "moby" if one.Type in _IMAGES else one.Type,
            one.Attrs if one.Type in _FILES else _of_image(one.Attrs, tags, squash=squash),
            str(number),
        )
        for number, one in enumerate(outputs)
        if one.Type != _NOWHERE
    )


def _of_image(attributes: Mapping[str, str], tags: tuple[str, ...], *, squash: bool) -> dict[str, str]:
    names = [name for name in (attributes.get("name", ""), *tags) if name]
    return {
        **attributes,
        **({"name": _line(names)} if names else {}),
        **({"layers": "stage"} if squash else {}),
    }


def _limits(given: Mapping[str, str]) -> Limits:
    return Limits(
        memory=_number(given, "memory"),
        memory_swap=_number(given, "memswap", least=_NO_LIMIT),
        cpu_shares=_number(given, "cpushares"),
        cpu_period=_number(given, "cpuperiod"),
        cpu_quota=_number(given, "cpuquota"),
        cpuset_cpus=given.get("cpusetcpus", ""),
        cpuset_mems=given.get("cpusetmems", ""),
    )


def _number(given: Mapping[str, str], name: str, least: int = 0) -> int:
    """A number; what is none counts as 0, as in dockerd (``Int64ValueOrZero``)."""
    try:
        return max(query.integer(given, name), least)
    except InvalidInput:
        return 0


def _size(given: Mapping[str, str], name: str) -> str:
    number = _number(given, name)
    return str(number) if number else ""


def _json(text: str, kind: type[Any], what: str) -> Any:
    if not text:
        return None
    try:
        return gojson.decode(text.encode(errors="replace"), kind)
    except InvalidInput as exc:
        raise InvalidInput(what, cause=exc.cause or exc.message) from exc
