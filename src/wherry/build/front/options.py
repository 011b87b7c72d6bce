"""The frontend's options: BuildKit's attributes, read and checked."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from wherry.build.dockerfile.fields import comma_separated
from wherry.build.dockerfile.fields import parse_bool as parse_go_bool
from wherry.build.model import host_directories
from wherry.build.model.graph import BuildMount, HostEntry, NetworkMode, Ulimit
from wherry.build.model.network import StepNetwork
from wherry.errors import InvalidInput, Unsupported
from wherry.oci.platform import Platform

__all__ = ["FrontOptions", "parse_bool"]

_CAPABILITIES: Final = frozenset(
    f"moby.buildkit.frontend.{name}" for name in ("inputs", "subrequests", "contexts", "gitquerystring")
)
_ULIMITS: Final = frozenset(
    "core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split()
)
_MOST_PLATFORMS: Final = 64
_INT64: Final = 2**63 - 1


class FrontOptions(Struct, frozen=True, kw_only=True):
    """What the front is asked for.

    :param raw: all of them, as they came: contexts are looked up there.
    :param platforms: those to build for, normalised; empty: this machine's.
    :param multi_platform: whether the result has a key for each platform.
    :param no_cache: None: the cache is used; empty: not for any stage; or not for the stages named.
    :param context: what the build context is, where it is not the client's directory.
    :param volumes: mounts for each step, of directories of this machine.
    :param forced_dockerfile: the client's directory with the Dockerfile is asked for although the context is
        elsewhere.
    """

    raw: dict[str, str]
    filename: str = "Dockerfile"
    target: str = ""
    build_args: dict[str, str] = {}
    labels: dict[str, str] = {}
    platforms: tuple[Platform, ...] = ()
    multi_platform: bool = False
    resolve_mode: str = "default"
    no_cache: tuple[str, ...] | None = None
    hosts: tuple[HostEntry, ...] = ()
    ulimits: tuple[Ulimit, ...] = ()
    volumes: tuple[BuildMount, ...] = ()
    network: str = NetworkMode.DEFAULT
    shm_size: int = 0
    cgroup_parent: str = ""
    hostname: str = ""
    cache_namespace: str = ""
    context: str = ""
    context_subdirectory: str = ""
    dockerfile_name: str = "dockerfile"
    forced_dockerfile: bool = False
    request: str = ""
    syntax: str = ""
    check: str | None = None
    keep_git_directory: bool = False

    @classmethod
    def parse(cls, raw: Mapping[str, str]) -> FrontOptions:
        """Read options.

        :raises InvalidInput: one makes no sense.
        :raises Unsupported: a capability is asked for that this frontend does not have.
        """
        _refuse_what_is_no_text(raw)
        _refuse_unknown_capabilities(raw.get("frontend.caps", ""))
        build_args = _below(raw, "build-arg:")
        platforms = _platforms(raw.get("platform", ""))
        return cls(
            raw=dict(raw),
            filename=raw.get("filename") or "Dockerfile",
            target=raw.get("target", ""),
            build_args=build_args,
            labels=_below(raw, "label:"),
            platforms=platforms,
            multi_platform=_multi_platform(raw, platforms),
            resolve_mode=_resolve_mode(raw.get("image-resolve-mode", "")),
            no_cache=_no_cache(raw.get("no-cache")),
            hosts=_hosts(raw.get("add-hosts", "")),
            ulimits=_ulimits(raw.get("ulimit", "")),
            volumes=host_directories.parse(raw.get(host_directories.OPTION, "")),
            network=_network(raw.get("force-network-mode", "")),
            shm_size=_size(raw.get("shm-size", "")),
            cgroup_parent=raw.get("cgroup-parent", ""),
            hostname=build_args.get("BUILDKIT_SANDBOX_HOSTNAME") or raw.get("hostname", ""),
            cache_namespace=build_args.get("BUILDKIT_CACHE_MOUNT_NS", ""),
            context=raw.get(raw.get("contextkey", "context"), ""),
            context_subdirectory=raw.get("contextsubdir", ""),
            dockerfile_name=raw.get("dockerfilekey", "dockerfile"),
            forced_dockerfile="dockerfilekey" in raw,
            request=raw.get("requestid", ""),
            syntax=build_args.get("BUILDKIT_SYNTAX", "") if "cmdline" not in raw else "",
            check=build_args.get("BUILDKIT_DOCKERFILE_CHECK"),
            keep_git_directory=parse_bool(build_args.get("BUILDKIT_CONTEXT_KEEP_GIT_DIR", "")) or False,
        )

    def session_of(self, local: str, default: str) -> str:
        """The ID of the session that has a directory (``local-sessionid:NAME``)."""
        return self.raw.get(f"local-sessionid:{local}", default)

    def ignores_cache(self, stage: str) -> bool:
        """Whether a stage is built without the cache."""
        if self.no_cache is None:
            return False
        return not self.no_cache or any(name.lower() == stage.lower() for name in self.no_cache)


def parse_bool(text: str) -> bool | None:
    """A boolean as Go's ``strconv.ParseBool`` reads it; None: it is none."""
    try:
        return parse_go_bool(text)
    except ValueError:
        return None


def _below(raw: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {key.removeprefix(prefix): value for key, value in raw.items() if key.startswith(prefix)}


def _refuse_what_is_no_text(raw: Mapping[str, str]) -> None:
    for name, value in raw.items():
        if "\0" in name or "\0" in value or not _is_unicode(name) or not _is_unicode(value):
            raise InvalidInput(f"the option {name!a} is no text")


def _is_unicode(text: str) -> bool:
    """Whether there is no half of a character in it, as JSON may have."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse_unknown_capabilities(text: str) -> None:
    for one in filter(None, text.split(",")):
        name = one.partition("+")[0]
        if name not in _CAPABILITIES:
            raise Unsupported(f"unsupported frontend capability {name}")


def _platforms(text: str) -> tuple[Platform, ...]:
    if not text:
        return ()
    names = text.split(",")
    if len(names) > _MOST_PLATFORMS:
        raise InvalidInput(f"more than {_MOST_PLATFORMS} target platforms")
    found: dict[Platform, None] = {}
    for name in names:
        try:
            found[Platform.parse(name).normalised()] = None
        except InvalidInput as exc:
            raise InvalidInput(f"failed to parse target platform {name}: {exc}") from exc
    return tuple(found)


def _multi_platform(raw: Mapping[str, str], platforms: tuple[Platform, ...]) -> bool:
    several = len(platforms) > 1
    text = raw.get("build-arg:BUILDKIT_MULTI_PLATFORM") or raw.get("multi-platform", "")
    if not text:
        return several
    asked = parse_bool(text)
    if asked is None:
        raise InvalidInput(f"invalid boolean value for multi-platform: {text}")
    if several and not asked:
        raise InvalidInput("conflicting config: returning multiple target platforms is not allowed")
    return asked


def _resolve_mode(text: str) -> str:
    if text not in ("", "default", "pull", "local"):
        raise InvalidInput(f"invalid image-resolve-mode: {text}")
    return text or "default"


def _no_cache(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    return tuple(text.split(",")) if text else ()


def _fields(text: str, what: str) -> list[str]:
    """The fields of one line of comma-separated values."""
    if not text:
        return []
    try:
        return comma_separated(text)
    except InvalidInput as exc:
        raise InvalidInput(f"failed to parse {what}: {exc}") from exc


def _hosts(text: str) -> tuple[HostEntry, ...]:
    return tuple(_host(field) for field in _fields(text, "additional hosts"))


def _host(field: str) -> HostEntry:
    host, equals, address = field.lower().partition("=")
    if not equals:
        raise InvalidInput(f"failed to parse additional hosts: invalid key-value pair {field}")
    if not host or re.search(r"\s", host):
        raise InvalidInput(f'failed to parse additional hosts: invalid host name "{host}"')
    try:
        return HostEntry(host, str(ipaddress.ip_address(address)))
    except ValueError:
        raise InvalidInput(f"failed to parse additional hosts: failed to parse IP {address}") from None


def _ulimits(text: str) -> tuple[Ulimit, ...]:
    return tuple(_ulimit(field) for field in _fields(text, "ulimit"))


def _ulimit(field: str) -> Ulimit:
    name, equals, limits = field.partition("=")
    soft, colon, hard = limits.partition(":")
    if not equals or not re.fullmatch(r"-?\d{1,19}", soft) or (colon and not re.fullmatch(r"-?\d{1,19}", hard)):
        raise InvalidInput(f"failed to parse ulimit: invalid ulimit argument: {field}")
    if name not in _ULIMITS:
        raise InvalidInput(f"failed to parse ulimit: invalid ulimit type: {name}")
    low, high = int(soft), int(hard or soft)
    if high != -1 and (low > high or low == -1):
        raise InvalidInput(
            "failed to parse ulimit: ulimit soft limit must be less than or equal to hard limit: "
            f"{'unlimited' if low == -1 else low} > {high}"
        )
    return Ulimit(name, low, high)


def _network(text: str) -> str:
    """A network mode. ``network:NAME`` is ours; the engine answers for the name."""
    return str(StepNetwork.parse("" if text == "sandbox" else text))


def _size(text: str) -> int:
    if not text:
        return 0
    if not re.fullmatch(r"[+-]?\d{1,19}", text) or not -_INT64 <= int(text) <= _INT64:
        raise InvalidInput(f'failed to parse shm size: "{text}" is no number')
    return max(int(text), 0)
