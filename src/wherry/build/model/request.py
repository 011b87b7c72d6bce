"""What a build is asked for, and what it gives. All ways in make this of what they are told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from msgspec import Struct

from wherry.build.model.executor import Limits
from wherry.build.model.failure import OnFailure
from wherry.build.model.graph import Edge
from wherry.build.model.source_policy import SourcePolicy
from wherry.oci.digest import Digest

__all__ = ["BuildRequest", "CacheOptions", "CacheTarget", "Export", "FrontResult", "PlannedStep", "Ref"]


class CacheTarget(Struct, frozen=True):
    """Where cache comes from, or goes to: the type (``inline``, ``registry``, ``local``) and its options."""

    type: str
    attributes: dict[str, str] = {}


class CacheOptions(Struct, frozen=True):
    """The caches of a build."""

    imports: tuple[CacheTarget, ...] = ()
    exports: tuple[CacheTarget, ...] = ()


class Export(Struct, frozen=True):
    """Where the result goes: ``moby`` or ``image``, ``oci``, ``docker``, ``tar``, ``local``; and the options.

    :param number: which of the client's outputs it is (``buildkit-attachable-exporter-id``).
    """

    type: str
    attributes: dict[str, str] = {}
    number: str = "0"


@dataclass(frozen=True, kw_only=True)
class Ref:
    """The result for one platform, before anything of it has been run.

    :param edge: its root file system; None: an empty one.
    :param config: of the image, as JSON (an OCI image configuration without ``rootfs``); empty: none.
    :param base_config: of the base image, as JSON.
    :param extras: what a bill of materials is to list as well, by name: stages, the ``context``.
    """

    edge: Edge | None
    config: bytes = b""
    base_config: bytes = b""
    extras: dict[str, Edge] = field(default_factory=dict)


class PlannedStep(Struct, frozen=True):
    """An instruction that the result needs, as whoever thinks in instructions and not in graphs counts them.

    :param text: on one line, as it was written.
    :param keyword: in capitals.
    :param stage: a number that all instructions of a stage have in common; -1: those before the first FROM.
    :param vertex: whose result the stage's files are after it; None: there are no files.
    :param changes: whether that is another one than before it.
    :param trigger: whether it is of ONBUILD in the stage's base.
    """

    text: str
    keyword: str
    stage: int
    vertex: Digest | None = None
    changes: bool = False
    trigger: bool = False


@dataclass(frozen=True, kw_only=True)
class FrontResult:
    """What a frontend gives.

    :param refs: by platform (``linux/amd64``), in the order in which they were asked for; one entry with the key
        ``""`` where the result is for one platform and was not asked for as several.
    :param metadata: for the client, in BuildKit's names: ``result.txt``, ``result.json``, ``version``; and annotations.
    :param sources: the texts of the files that vertices' metadata name (``Dockerfile``).
    :param steps: the instructions that are carried out, in the order in which they are written.
    :param unused_arguments: build arguments that no instruction declares.
    """

    refs: dict[str, Ref]
    metadata: dict[str, bytes] = field(default_factory=dict)
    sources: dict[str, bytes] = field(default_factory=dict)
    steps: tuple[PlannedStep, ...] = ()
    unused_arguments: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """A build.

    :param ref: the build's own ID, as the client has chosen it.
    :param session: the ID of the client's session; empty: there is none.
    :param frontend: ``dockerfile.v0``, or empty for a definition.
    :param options: the frontend's, in BuildKit's words: ``filename``, ``target``, ``build-arg:NAME``, ``platform``.
    :param inputs: results of other builds, by the names that the frontend uses for them.
    :param definition: without a frontend, what to build.
    :param entitlements: what the client allows: ``network.host``, ``security.insecure``, ``device``.
    :param joins: the container whose network steps may have (the classic ``--network container:NAME``); empty: none.
    :param binds: what of this machine its steps may see; the option `host_directories.OPTION` says where.
    :param policy: what may be fetched, and what instead.
    :param on_failure: told of steps that fail, before the build does; None: nobody is.
    :param on_solved: told of what the frontend gives, before anything of that is run; None: nobody is.
    :param internal: whether it is in no list of builds: its client only asks for something.
    :param keeps_failed: whether what failed steps have left stays to the end of the build (`errors.VertexFailed`).
    """

    ref: str
    session: str = ""
    frontend: str = "dockerfile.v0"
    options: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, Edge] = field(default_factory=dict)
    definition: Edge | None = None
    exports: tuple[Export, ...] = ()
    cache: CacheOptions = field(default_factory=CacheOptions)
    entitlements: frozenset[str] = frozenset()
    joins: str = ""
    binds: frozenset[str] = frozenset()
    policy: SourcePolicy = field(default_factory=SourcePolicy)
    on_failure: OnFailure | None = None
    on_solved: Callable[[FrontResult], None] | None = None
    internal: bool = False
    keeps_failed: bool = False
    limits: Limits = field(default_factory=Limits)
