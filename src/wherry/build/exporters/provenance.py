"""The provenance of an image: a predicate of SLSA, with the fields that BuildKit gives it. No I/O.

What a secret is called may be in it, never what it is; passwords in URLs and the values of proxies are left out.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from wherry.build.exporters.attestation_options import Provenance
from wherry.build.exporters.contract import Product
from wherry.build.model.graph import ExecOp, HostDirectory, NetworkMode, Secret, SourceOp, Ssh, Vertex, topological
from wherry.build.model.host_directories import OPTION
from wherry.build.model.redaction import redacted
from wherry.oci.platform import Platform
from wherry.oci.times import rfc3339

__all__ = ["predicate", "predicate_type"]

Json = dict[str, Any]

_TYPE: Final = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md"
_TYPE_02: Final = "https://mobyproject.org/buildkit@v1"
_OF_THIS_MACHINE: Final = frozenset({"cgroup-parent", "image-resolve-mode", "platform", "cache-imports", OPTION})
_OF_THIS_CLIENT: Final = frozenset({"local.session", "local.unique"})  # BuildKit leaves them out, too
_LOCAL: Final = "local://"


def predicate_type(options: Provenance) -> str:
    """The type of the predicate."""
    return f"https://slsa.dev/provenance/{options.version}"


def predicate(product: Product, key: str, options: Provenance, *, finished: int, epoch: int | None) -> Json:
    """The provenance of one ref.

    :param finished: nanoseconds since the epoch.
    :param epoch: in place of all times, where the same inputs have to give the same image.
    """
    ref = product.result.refs[key]
    vertices = list(topological([ref.edge])) if ref.edge is not None else []
    steps = _Steps(vertices, product.pins)
    parameters = _parameters(product.request.options, steps, product.request.frontend, is_full=options.is_full)
    source = _config_source(product.request.options, steps)
    whole = not steps.locals
    metadata: Json = {
        "startedOn": rfc3339(product.started if epoch is None else epoch),
        "finishedOn": rfc3339(finished if epoch is None else epoch),
        "buildkit_metadata": _sources(product, steps) if options.is_full else {},
        "buildkit_completeness": {
            "request": options.is_full or not _is_scrubbed(product.request.options),
            "resolvedDependencies": whole,
        },
    }
    if epoch is None:
        metadata["invocationId"] = product.request.ref
    if whole and not steps.has_network and not steps.sees_host:
        metadata["buildkit_hermetic"] = True
    if options.reproducible:
        metadata["buildkit_reproducible"] = True
    internal: Json = {"builderPlatform": str(Platform.host())}
    if options.is_full:
        internal["buildConfig"] = steps.definition(is_named_by_digest=epoch is None)
    found: Json = {
        "buildDefinition": {
            "buildType": _TYPE,
            "externalParameters": {"configSource": source, "request": parameters},
            "internalParameters": internal,
            "resolvedDependencies": steps.materials,
        },
        "runDetails": {"builder": {"id": options.builder_id}, "metadata": metadata},
    }
    return found if options.version == "v1" else _as_02(found)


class _Steps:
    """What the vertices of a build tell."""

    def __init__(self, vertices: Sequence[Vertex], pins: Mapping[Any, Sequence[tuple[str, str]]]) -> None:
        self._vertices = vertices
        self._names = {vertex.digest: f"step{number}" for number, vertex in enumerate(vertices)}
        ops = [vertex.op for vertex in vertices]
        execs = [op for op in ops if isinstance(op, ExecOp)]
        mounts = [mount.kind for op in execs for mount in op.mounts]
        secrets: list[Any] = [kind for kind in mounts if isinstance(kind, Secret)]
        secrets += [secret for op in execs for secret in op.secret_env]
        self.secrets: Final = _named((one.id, one.optional) for one in secrets)
        self.ssh: Final = _named((kind.id, kind.optional) for kind in mounts if isinstance(kind, Ssh))
        identifiers = [op.identifier for op in ops if isinstance(op, SourceOp)]
        self.locals: Final = sorted({one.removeprefix(_LOCAL) for one in identifiers if one.startswith(_LOCAL)})
        self.has_network: Final = any(op.network != NetworkMode.NONE for op in execs)
        self.sees_host: Final = any(isinstance(kind, HostDirectory) for kind in mounts)
        found = {pin for vertex in vertices for pin in pins.get(vertex.digest, ())}
        self.materials: Final[list[Json]] = [
            {"uri": redacted(uri), "digest": dict([digest.split(":", 1)])} if ":" in digest else {"uri": redacted(uri)}
            for uri, digest in sorted(found)
        ]

    def definition(self, *, is_named_by_digest: bool) -> Json:
        """The steps themselves.

        :param is_named_by_digest: with their digests in this build, in which there is the ID of a client's session.
        """
        shown: Json = {"llbDefinition": [self._step(vertex) for vertex in self._vertices]}
        if is_named_by_digest:
            shown["digestMapping"] = {str.__str__(digest): name for digest, name in self._names.items()}
        return shown

    def _step(self, vertex: Vertex) -> Json:
        op = vertex.op
        if isinstance(op, ExecOp):
            op = msgspec.structs.replace(op, proxy_env=())
        if isinstance(op, SourceOp):
            kept = {name: redacted(value) for name, value in op.attributes.items() if name not in _OF_THIS_CLIENT}
            op = SourceOp(redacted(op.identifier), kept)
        shown: Json = {"id": self._names[vertex.digest], "op": msgspec.to_builtins(op)}
        if vertex.platform:
            shown["op"]["platform"] = str(vertex.platform)
        if vertex.inputs:
            shown["inputs"] = [f"{self._names[edge.vertex.digest]}:{edge.output}" for edge in vertex.inputs]
        return shown

    def locations(self) -> Json:
        """Where in their files the steps were written."""
        return {
            self._names[vertex.digest]: {
                "locations": [
                    {"ranges": [{"start": {"line": one.start_line, "character": one.start_character},
                                 "end": {"line": one.end_line, "character": one.end_character}}]}
                    for one in vertex.metadata.ranges
                ]
            }
            for vertex in self._vertices
            if vertex.metadata.ranges
        }  # fmt: skip


def _material(uri: str, digest: str) -> Json:
    algorithm, _, value = digest.partition(":")
    return {"uri": redacted(uri), "digest": {algorithm: value}} if value else {"uri": redacted(uri)}


def _named(found: Iterable[tuple[str, bool]]) -> list[Json]:
    return [{"id": name, "optional": True} if optional else {"id": name} for name, optional in sorted(set(found))]


def _parameters(options: Mapping[str, str], steps: _Steps, frontend: str, *, is_full: bool) -> Json:
    arguments = {}
    for name, value in sorted(options.items()):
        if name in _OF_THIS_MACHINE or name.startswith(("attest:", "build-arg:BUILDKIT_ATTEST_")):
            continue
        if name in ("context", "filename") or (not is_full and name.startswith(("build-arg:", "label:"))):
            continue
        arguments[name] = redacted(value)
    shown: Json = {"frontend": frontend, "args": arguments, "locals": [{"name": name} for name in steps.locals]}
    if is_full:
        shown |= {"secrets": steps.secrets, "ssh": steps.ssh}
    return {name: value for name, value in shown.items() if value}


def _is_scrubbed(options: Mapping[str, str]) -> bool:
    return any(name.startswith(("build-arg:", "label:")) for name in options)


def _config_source(options: Mapping[str, str], steps: _Steps) -> Json:
    shown: Json = {"path": options.get("filename", "Dockerfile")}
    context = options.get("context", "")
    if context:
        shown["uri"] = redacted(context)
        for material in steps.materials:
            if material["uri"] == shown["uri"] and "digest" in material:
                shown["digest"] = material["digest"]
    return shown


def _sources(product: Product, steps: _Steps) -> Json:
    infos = [
        {"filename": name, "language": "Dockerfile", "data": base64.b64encode(text).decode()}
        for name, text in product.result.sources.items()
    ]
    vcs = {
        name.removeprefix("vcs:"): redacted(value)
        for name, value in product.request.options.items()
        if name.startswith("vcs:")
    }
    return ({"source": {"infos": infos, "locations": steps.locations()}} if infos else {}) | (
        {"vcs": vcs} if vcs else {}
    )


def _as_02(found: Json) -> Json:
    """The same in SLSA v0.2."""
    definition, details = found["buildDefinition"], found["runDetails"]
    external, internal, metadata = (
        definition["externalParameters"], definition["internalParameters"], details["metadata"]
    )  # fmt: skip
    source = external["configSource"]
    shown: Json = {
        "builder": details["builder"],
        "buildType": _TYPE_02,
        "materials": definition["resolvedDependencies"],
        "invocation": {
            "configSource": {name: value for name, value in source.items() if name != "path"}
            | {"entryPoint": source["path"]},
            "parameters": external["request"],
            "environment": {"platform": internal["builderPlatform"]},
        },
        "metadata": {
            "buildStartedOn": metadata["startedOn"],
            "buildFinishedOn": metadata["finishedOn"],
            "completeness": {
                "parameters": metadata["buildkit_completeness"]["request"],
                "environment": True,
                "materials": metadata["buildkit_completeness"]["resolvedDependencies"],
            },
            "reproducible": metadata.get("buildkit_reproducible", False),
            "https://mobyproject.org/buildkit@v1#metadata": metadata["buildkit_metadata"],
        },
    }
    if "invocationId" in metadata:
        shown["metadata"]["buildInvocationID"] = metadata["invocationId"]
    if metadata.get("buildkit_hermetic"):
        shown["metadata"]["https://mobyproject.org/buildkit@v1#hermetic"] = True
    return shown | ({"buildConfig": internal["buildConfig"]} if "buildConfig" in internal else {})
