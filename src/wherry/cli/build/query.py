"""The flags of ``wherry build`` as the query of ``POST /build``."""

from __future__ import annotations

import os

from wherry.cli.build.context import named_context
from wherry.cli.build.outputs import fields_of
from wherry.cli.exit import Exit
from wherry.client.codec import encode
from wherry.docker.reference import Reference
from wherry.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from wherry.cli.build.caches import CacheDirectory
    from wherry.cli.build.context import DirectoryArchive
    from wherry.cli.build.layouts import Layout
    from wherry.cli.build.outputs import Output
    from wherry.cli.flags.parser import Options

__all__ = ["call_of", "directories_of", "layouts_of", "query_of", "secrets_of"]

_CALLS = {
    "check": "frontend.lint",
    "lint": "frontend.lint",
    "outline": "frontend.outline",
    "targets": "frontend.targets",
}
_ELSEWHERE = ("docker-image://", "https://", "http://", "git://", "git@", "ssh://", "github.com/")
_LAYOUT = "oci-layout://"
_MOST_DIRECTORIES = 64
_MOST_SECRETS = 500 << 10


def query_of(
    options: Options,
    context: str,
    dockerfile: str,
    outputs: Sequence[Output],
    *,
    directories: Iterable[str] = (),
    agents: Iterable[str] = (),
    layouts: Mapping[str, Layout] | None = None,
    caches: Mapping[str, CacheDirectory] | None = None,
) -> dict[str, object]:
    """The query.

    :param context: an address that the daemon reads; empty: the body.
    :param dockerfile: its name in the context.
    :param outputs: where the result goes.
    :param directories: the names of contexts that the daemon can ask for.
    :param agents: the IDs of SSH agents that it can ask for.
    :param layouts: contexts of whose blobs it can ask for, by their names.
    :param caches: directories with cache that it can ask for blobs, and send blobs to, by their names.
    :raises wherry.cli.exit.Exit: a flag cannot be served.
    """
    caches = caches or {}
    return {
        "version": "3",
        "t": list(options["tag"]),
        "dockerfile": dockerfile or None,
        "remote": context or None,
        "buildargs": _pairs(options["build-arg"], from_environment=True),
        "labels": _pairs(options["label"]),
        "target": options["target"] or None,
        "platform": list(options["platform"]),
        "nocache": options["no-cache"],
        "pull": options["pull"],
        "networkmode": options["network"] if options["network"] != "default" else None,
        "extrahosts": list(options["add-host"]),
        "cachefrom": _json(_images_of(_cache_sources(options, caches))),
        "cacheto": _json([_cache_target(text, caches) for text in options["cache-to"]]),
        "agents": _json(list(agents)),
        "directories": _json(list(directories)),
        "allow": _json(list(options["allow"])),
        "layouts": _json([*(layouts or ()), *caches]),
        "sourcepolicy": _source_policy(),
        "frontend": encode(own).decode() if (own := _own_options(options, layouts or {}, caches)) else None,
        "outputs": _outputs(outputs),
        "ulimits": _json(list(options["ulimit"])),
        "volumes": _json(list(map(_volume, options["volume"]))),
        "shmsize": options["shm-size"] or None,
        "memory": options["memory"] or None,
        "memswap": options["memory-swap"] or None,
        "cpushares": options["cpu-shares"] or None,
        "cpuperiod": options["cpu-period"] or None,
        "cpuquota": options["cpu-quota"] or None,
        "cpusetcpus": options["cpuset-cpus"] or None,
        "cpusetmems": options["cpuset-mems"] or None,
        "cgroupparent": options["cgroup-parent"] or None,
    }


def _volume(text: str) -> str:
    """A volume whose source may be relative to the working directory, as with ``run -v``."""
    source, colon, rest = text.partition(":")
    return f"{os.path.abspath(source)}{colon}{rest}" if source.startswith(".") else text


def _source_policy() -> str | None:
    """The content of the file that buildx's variable names: what may be fetched, and what instead."""
    path = os.environ.get("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY", "")
    if not path:
        return None
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise Exit(1, f"failed to read the source policy {path}: {error}") from error


def call_of(options: Options) -> tuple[str, str]:
    """What is asked for instead of a build, and the form of the answer; empty: a build.

    :raises wherry.cli.exit.Exit: it is not known.
    """
    name, _, form = options["call"].partition(",")
    form = form.removeprefix("format=") or "text"
    if options["check"]:
        name = "check"
    if name in ("", "build"):
        return "", ""
    if name not in _CALLS or form not in ("text", "json"):
        raise Exit(1, f"invalid --call {options['call']}: it is check, outline or targets, with format=text or json")
    return _CALLS[name], form


def directories_of(options: Options) -> dict[str, DirectoryArchive]:
    """Directories of this side that are contexts beside the main one, by their names.

    :raises wherry.cli.exit.Exit: there is no such directory.
    """
    found = {name: value for name, value in _named(options) if not value.startswith((*_ELSEWHERE, _LAYOUT))}
    if len(found) > _MOST_DIRECTORIES:
        raise Exit(1, f"there are {len(found)} directories as --build-context, where {_MOST_DIRECTORIES} are allowed")
    return {name: named_context(value) for name, value in found.items()}


def layouts_of(options: Options) -> dict[str, Layout]:
    """OCI layouts of this side that are contexts, by the names under which the daemon asks for their blobs.

    :raises wherry.cli.exit.Exit: there is no such layout.
    """
    found = [value for _, value in _named(options) if value.startswith(_LAYOUT)]
    if not found:
        return {}
    from wherry.cli.build.layouts import Layout

    return {f"layout{number}": Layout(value) for number, value in enumerate(found)}


def _named(options: Options) -> list[tuple[str, str]]:
    """All named contexts; a name is one of an image, or of a stage."""
    found = []
    for text in options["build-context"]:
        name, equals, value = text.partition("=")
        if not equals or not value:
            raise Exit(1, f"invalid --build-context {text}: it is name=directory, or name=address")
        try:
            name = Reference.parse(name.lower()).familiar.removesuffix(":latest")
        except InvalidInput as error:
            raise Exit(1, f"invalid --build-context {text}: {error}") from error
        found.append((name, value))
    return found


def _own_options(
    options: Options, layouts: Mapping[str, Layout], caches: Mapping[str, CacheDirectory]
) -> dict[str, str]:
    """Options of the frontend that the classic builder's query has no names for."""
    found: dict[str, str] = {}
    if request := call_of(options)[0]:
        found["requestid"] = request
    if options["no-cache-filter"]:
        found["no-cache"] = ",".join(options["no-cache-filter"])
    if imports := [one for one in _cache_sources(options, caches) if one["Attrs"].keys() != {"ref"}]:
        found["cache-imports"] = encode(imports).decode()
    found |= {f"context:{name}": value for name, value in _named(options) if value.startswith(_ELSEWHERE)}
    laid_out = [name for name, value in _named(options) if value.startswith(_LAYOUT)]
    for name, (store, layout) in zip(laid_out, layouts.items(), strict=True):
        found[f"context:{name}"] = f"{_LAYOUT}{store}:{layout.image}"
    for text in options["attest"]:
        fields = fields_of(text)
        kind = fields.pop("type", "") or fields.pop("", "")
        if kind not in ("provenance", "sbom"):
            raise Exit(1, f"invalid --attest {text}: the type is provenance or sbom")
        found[f"attest:{kind}"] = ",".join(f"{key}={value}" for key, value in fields.items())
    for kind in ("provenance", "sbom"):
        found |= _attestation(kind, options[kind])
    return found


def _attestation(kind: str, value: str) -> dict[str, str]:
    """``--provenance=true``, ``false``, or its attributes."""
    if value in ("", "false", "0"):
        return {}
    return {f"attest:{kind}": "" if value in ("true", "1") else value}


def secrets_of(options: Options) -> dict[str, bytes]:
    """The secrets of a build by their IDs.

    :raises wherry.cli.exit.Exit: one is not there.
    """
    found: dict[str, bytes] = {}
    for text in options["secret"]:
        fields = fields_of(text)
        name = fields.get("id", "")
        if not name:
            raise Exit(1, f"invalid --secret {text}: an id is missing")
        found[name] = _secret(name, fields)
    if sum(map(len, found.values())) > _MOST_SECRETS:
        raise Exit(1, f"secrets of more than {_MOST_SECRETS >> 10} KiB are not supported by wherry build")
    return found


def _secret(name: str, fields: dict[str, str]) -> bytes:
    path, variable = fields.get("src") or fields.get("source") or "", fields.get("env", "")
    if not path and not variable:
        path, variable = ("", name) if name in os.environ and fields.get("type") != "file" else (name, "")
    if variable:
        if variable not in os.environ:
            raise Exit(1, f"invalid --secret {name}: there is no environment variable {variable}")
        return os.environb[os.fsencode(variable)]
    try:
        with open(path, "rb") as file:
            return file.read(_MOST_SECRETS + 1)
    except OSError as error:
        raise Exit(1, f"invalid --secret {name}: open {path}: {os.strerror(error.errno or 0).lower()}") from error


def _json(value: list[Any]) -> str | None:
    return encode(value).decode() if value else None


def _pairs(given: Iterable[str], *, from_environment: bool = False) -> str | None:
    """``name=value``; a name alone means the environment's value, if it has one."""
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if equals or not from_environment:
            found[name] = value
        elif name in os.environ:
            found[name] = os.environ[name]
    return encode(found).decode() if found else None


def _cache_sources(options: Options, caches: Mapping[str, CacheDirectory]) -> list[dict[str, Any]]:
    """Each cache that is imported: its type and attributes."""
    found = []
    for text in options["cache-from"]:
        fields = fields_of(text)
        kind = "registry" if "" in fields else fields.pop("type", "")
        if kind == "local":
            if name := _called(text, caches, is_target=False):
                found.append({"Type": kind, "Attrs": {**caches[name].attributes, "src": name}})
            continue
        attributes = {"ref": fields[""]} if "" in fields else fields
        if kind != "registry" or not attributes.get("ref"):
            known = "only images, type=registry and type=local are"
            raise Exit(1, f"--cache-from {text} is not supported by wherry build: {known}")
        found.append({"Type": kind, "Attrs": attributes})
    return found


def _images_of(sources: Sequence[dict[str, Any]]) -> list[str]:
    """Those that are a name alone, which the classic builder has a word for."""
    return [one["Attrs"]["ref"] for one in sources if one["Attrs"].keys() == {"ref"}]


def _called(text: str, caches: Mapping[str, CacheDirectory], *, is_target: bool) -> str:
    """The name of the directory that a flag's value means; empty: it is not there, or the value means no directory."""
    if not caches:
        return ""
    from wherry.cli.build.caches import CacheDirectory, is_local

    name = CacheDirectory(fields_of(text), is_target=is_target).called
    return name if is_local(text) and name in caches else ""


def _cache_target(text: str, caches: Mapping[str, CacheDirectory]) -> dict[str, Any]:
    fields = fields_of(text)
    if name := _called(text, caches, is_target=True):
        return {"Type": "local", "Attrs": {**caches[name].attributes, "dest": name}}
    if "" in fields:
        fields = {"type": "registry", "ref": fields[""]}
    kind = fields.pop("type", "registry")
    if kind not in ("registry", "inline"):
        raise Exit(1, f"--cache-to {text} is not supported by wherry build: only registry, inline and local are")
    return {"Type": kind, "Attrs": fields}


def _outputs(outputs: Sequence[Output]) -> str | None:
    """All outputs; none where the only one is an image without options, which needs no words."""
    if [(one.kind, one.attributes) for one in outputs] == [("moby", {})]:
        return None
    return encode([one.as_query() for one in outputs]).decode()
