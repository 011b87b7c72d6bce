"""The flags of ``wherry build`` as the query of ``POST /build``."""

from __future__ import annotations

import os

from wherry.cli.exit import Exit
from wherry.client.codec import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from wherry.cli.flags.parser import Options

__all__ = ["query_of"]

#: Flags of buildx whose work needs a session between the daemon and the client, which `wherry build` has not yet.
_NOT_YET = ("allow", "attest", "build-context", "cache-to", "call", "check", "no-cache-filter", "sbom", "secret", "ssh")
_IMAGES = ("image", "docker", "moby", "registry")


def query_of(options: Options, context: str, dockerfile: str) -> dict[str, object]:
    """The query.

    :param context: an address that the daemon reads; empty: the body.
    :param dockerfile: its name in the context.
    :raises wherry.cli.exit.Exit: a flag cannot be served.
    """
    _refuse(options)
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
        "cachefrom": _json([_cache_source(text) for text in options["cache-from"]]),
        "outputs": _json(_outputs(options)),
        "ulimits": _json(list(options["ulimit"])),
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


def _refuse(options: Options) -> None:
    for name in _NOT_YET:
        if name in options.given and options[name]:
            raise Exit(1, f"--{name} is not supported by wherry build yet: use docker buildx build")
    if options["provenance"] not in ("", "false"):
        raise Exit(1, "--provenance is not supported by wherry build yet: use docker buildx build")


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


def _cache_source(text: str) -> str:
    fields = _fields(text)
    if "" in fields:
        return fields[""]
    if fields.get("type") != "registry" or not fields.get("ref"):
        raise Exit(1, f"--cache-from {text} is not supported by wherry build yet: only images and type=registry are")
    return fields["ref"]


def _outputs(options: Options) -> list[dict[str, Any]]:
    if len(options["output"]) > 1:
        raise Exit(1, "more than one --output is not supported by wherry build yet: use docker buildx build")
    fields = _fields(options["output"][0]) if options["output"] else {}
    kind = fields.pop("type", "moby")
    if "" in fields or kind not in _IMAGES or fields.get("dest"):
        raise Exit(1, f"--output {options['output'][0]} is not supported by wherry build yet: use docker buildx build")
    if kind == "registry" or options["push"]:
        fields["push"] = "true"
    layers = "stage" if options["squash"] else options["layers"]
    if layers not in ("all", "stage", "none"):
        raise Exit(1, f"invalid --layers {layers}: it is all, stage or none")
    if layers != "all":
        fields["layers"] = layers
    return [{"Type": "moby", "Attrs": fields}] if fields else []


def _fields(text: str) -> dict[str, str]:
    """``key=value,key=value``; a word alone has an empty key."""
    if "=" not in text and "," not in text:
        return {"": text}
    pairs = (pair.partition("=") for pair in text.split(",") if pair)
    return {key: value if equals else "true" for key, equals, value in pairs}
