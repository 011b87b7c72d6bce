"""Control/Solve's request becomes a build's, and what clients say in several ways is said in one."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeVar

from wherry.api.buildkit.definition import decode
from wherry.build.model.executor import Limits
from wherry.build.model.request import BuildRequest, CacheOptions, CacheTarget, Export
from wherry.build.model.source_policy import (
    Action,
    Condition,
    Constraint,
    MatchType,
    PolicyRule,
    Selector,
    SourcePolicy,
    Update,
)
from wherry.errors import InvalidInput, TooLarge

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from wherry.api.buildkit.proto import control_pb2, llb_pb2
    from wherry.build.model.graph import Edge

__all__ = ["build_request", "decoded_inputs", "frontend_of"]

T = TypeVar("T", bound=StrEnum)

MOST_INPUTS: Final = 1000
_DOCKERFILE: Final = "dockerfile.v0"
#: Images of the Dockerfile frontend: the built-in one answers in their place.
_DOCKERFILE_IMAGES: Final = ("docker/dockerfile", "docker/dockerfile-upstream")


def build_request(request: control_pb2.SolveRequest) -> BuildRequest:
    """What a client asks for; blocking, as its graph may be large.

    :raises InvalidInput: it makes no sense.
    """
    # A session for policies is passed over: it comes unasked, and who insists on it looks at the capabilities first.
    if not request.Ref:
        raise InvalidInput("the build has no ID")
    options = dict(request.FrontendAttrs)
    return BuildRequest(
        ref=request.Ref,
        session=request.Session,
        frontend=frontend_of(request.Frontend, options),
        options=options,
        inputs=decoded_inputs(request.FrontendInputs),
        definition=decode(request.Definition).edge if request.HasField("Definition") else None,
        exports=tuple(_exports(request, options)),
        cache=_cache(request.Cache),
        entitlements=frozenset(request.Entitlements),
        policy=_policy(request.SourcePolicy),
        internal=request.Internal,
        limits=_limits(options),
    )


def frontend_of(frontend: str, options: Mapping[str, str]) -> str:
    """The frontend that is meant: an image with Docker's own is what is built in."""
    if frontend != "gateway.v0":
        return frontend
    name = options.get("source", "").removeprefix("docker.io/").partition("@")[0]
    return _DOCKERFILE if name.partition(":")[0] in _DOCKERFILE_IMAGES else frontend


def decoded_inputs(definitions: Mapping[str, llb_pb2.Definition]) -> dict[str, Edge]:
    """Results of other builds, by their names; an empty directory is none.

    :raises InvalidInput: one makes no sense.
    """
    if len(definitions) > MOST_INPUTS:
        raise TooLarge(f"the build has too many inputs: {len(definitions)}")
    edges = {name: decode(definition).edge for name, definition in definitions.items()}
    return {name: edge for name, edge in edges.items() if edge is not None}


def _exports(request: control_pb2.SolveRequest, options: Mapping[str, str]) -> Iterator[Export]:
    exporters = [(one.Type, dict(one.Attrs)) for one in request.Exporters]
    if not exporters and request.ExporterDeprecated:
        exporters = [(request.ExporterDeprecated, dict(request.ExporterAttrsDeprecated))]
    epoch = options.get("build-arg:SOURCE_DATE_EPOCH")
    for number, (kind, attributes) in enumerate(exporters):
        if epoch and epoch.isdecimal():  # a name is the frontend's to resolve
            attributes.setdefault("source-date-epoch", epoch)
        yield Export(kind, attributes, str(number))


def _policy(policy: control_pb2.SourcePolicy) -> SourcePolicy:
    return SourcePolicy(
        [
            PolicyRule(
                selector=Selector(
                    rule.selector.identifier,
                    _member(MatchType, rule.selector.match_type),
                    tuple(
                        Constraint(one.key, one.value, _member(Condition, one.condition))
                        for one in rule.selector.constraints
                    ),
                ),
                action=_member(Action, rule.action),
                updates=Update(rule.updates.identifier, dict(rule.updates.attrs)) if rule.HasField("updates") else None,
            )
            for rule in policy.rules
        ]
    )


def _member(kind: type[T], number: int) -> T:
    """A member of an enumeration whose order is that of BuildKit's numbers."""
    members = list(kind)
    if not 0 <= number < len(members):
        raise InvalidInput(f"a source policy has an unknown {kind.__name__}: {number}")
    return members[number]


def _cache(cache: control_pb2.CacheOptions) -> CacheOptions:
    imports = [CacheTarget(one.Type, dict(one.Attrs)) for one in cache.Imports]
    imports += [CacheTarget("registry", {"ref": ref}) for ref in cache.ImportRefsDeprecated]
    exports = [CacheTarget(one.Type, dict(one.Attrs)) for one in cache.Exports]
    if cache.ExportRefDeprecated:
        exports.append(CacheTarget("registry", {**cache.ExportAttrsDeprecated, "ref": cache.ExportRefDeprecated}))
    return CacheOptions(tuple(imports), tuple(exports))


def _limits(options: Mapping[str, str]) -> Limits:
    return Limits(
        memory=_number(options, "memory"),
        memory_swap=_number(options, "memswap"),
        cpu_shares=_number(options, "cpushares"),
        cpu_period=_number(options, "cpuperiod"),
        cpu_quota=_number(options, "cpuquota"),
        cpuset_cpus=options.get("cpusetcpus", ""),
        cpuset_mems=options.get("cpusetmems", ""),
    )


def _number(options: Mapping[str, str], name: str) -> int:
    text = options.get(name, "")
    if not text:
        return 0
    try:
        return int(text[:32])
    except ValueError:
        raise InvalidInput(f"invalid value for {name}: {text[:100]!r}") from None
