"""What a bill of materials is to list beside the result: the arguments ``BUILDKIT_SBOM_SCAN_CONTEXT`` and ``…_STAGE``.

Both are arguments: before the first FROM for all stages, or of a stage; a boolean, or names of stages.
"""

from __future__ import annotations

from typing import Final

from wherry.build.front.arguments import SCAN_CONTEXT, SCAN_STAGE
from wherry.build.front.drafts import Workshop
from wherry.build.front.scope import Scope
from wherry.build.front.stages import Stage, reachable
from wherry.build.model.graph import Edge

__all__ = ["extras"]

_CONTEXT: Final = "context"
#: Go's ``strconv.ParseBool``.
_TRUE: Final = frozenset("1 t T TRUE true True".split())
_FALSE: Final = frozenset("0 f F FALSE false False".split())


def extras(target: Stage, scope: Scope, workshop: Workshop) -> dict[str, Edge]:
    """What is listed as well, by its name; only what has files."""
    found: dict[str, Edge | None] = {}
    if _is_wanted(SCAN_CONTEXT, target, scope):
        found[_CONTEXT] = workshop.edge(scope.context)
    for stage in reachable(target):
        if stage is not target and stage.from_ is not None and _is_wanted(SCAN_STAGE, stage, scope):
            found[stage.title] = workshop.edge(stage.root)
    return {name: edge for name, edge in found.items() if edge is not None}


def _is_wanted(name: str, stage: Stage, scope: Scope) -> bool:
    value = stage.arguments.get(name) or scope.arguments.get(name, "")
    if value in _TRUE or value in _FALSE:
        return value in _TRUE
    return stage.title in value.split(",")
