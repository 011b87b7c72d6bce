"""Scanner images: a build of its own, which looks at a result and writes bills of materials (BuildKit's protocol).

A scanner gets the result's files, read-only, at `_SOURCE`, and writes ``NAME.spdx.json`` to `_DESTINATION`: in-toto
statements, or SPDX documents.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

from wherry.build.model.graph import NO_INPUT, NO_OUTPUT, BuildMount, Edge, ExecOp, Metadata, SourceOp, Tmpfs, Vertex
from wherry.build.model.request import Ref
from wherry.build.model.service import ResolvedImage
from wherry.build.model.snapshot import Snapshot
from wherry.build.solver.contract import Files
from wherry.docker.reference import Reference
from wherry.errors import InvalidInput, TooLarge
from wherry.oci.image_config import ContainerConfig, parse_config
from wherry.oci.platform import Platform

__all__ = ["scan", "scan_edge"]

_CORE: Final = "sbom"
_SOURCE: Final = f"/run/src/core/{_CORE}"
_EXTRAS: Final = "/run/src/extras"
_DESTINATION: Final = "/run/out/"
_PATH: Final = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MOST: Final = 40 << 20  #: bytes of all that a scanner says, as of one statement in BuildKit
_MOST_FILES: Final = 100


class _Build(Protocol):
    @property
    def files(self) -> Files: ...

    async def resolve(self, reference: str, platform: Platform | None, mode: str, name: str) -> ResolvedImage: ...


async def scan(
    build: _Build,
    solve: Callable[[Edge], Awaitable[Snapshot]],
    generator: str,
    parameters: Mapping[str, str],
    ref: Ref,
) -> list[bytes]:
    """Run a scanner image upon a result; what it has written, file by file, that about the result itself first.

    :param solve: gives what an edge gives, to the end of the build.
    :param ref: the result, with what the scanner may list as well.
    :raises InvalidInput: the image cannot be a scanner.
    :raises TooLarge: it says more than anybody would read.
    :raises VertexFailed: it failed.
    """
    reference = Reference.parse(generator).with_default_tag()
    image = await build.resolve(str(reference), Platform.host(), "", "")
    snapshot = await solve(scan_edge(reference, image, parameters, ref))
    listed = await build.files.list_directory(snapshot, "/", "*.spdx.json")
    if len(listed) > _MOST_FILES or sum(one.size for one in listed) > _MOST:
        raise TooLarge(f"the SBOM scanner {reference.familiar} says too much")
    listed.sort(key=lambda one: (one.path.partition(".")[0] != _CORE, one.path))
    return [await build.files.read(snapshot, f"/{one.path}", 0, one.size) for one in listed]


def scan_edge(
    reference: Reference,
    image: ResolvedImage,
    parameters: Mapping[str, str],
    ref: Ref,
) -> Edge:
    """What a scanner writes, as a part of a graph.

    :raises InvalidInput: the image has no command.
    """
    config = parse_config(image.config).config or ContainerConfig()
    args = (*(config.entrypoint or ()), *(config.cmd or ()))
    if not args:
        raise InvalidInput(f"scanner {reference.familiar} does not have cmd")
    env = [one for one in config.env or () if not one.startswith("BUILDKIT_SCAN_")]
    if not any(one.startswith("PATH=") for one in env):
        env.append(_PATH)
    env += [f"BUILDKIT_SCAN_DESTINATION={_DESTINATION}", f"BUILDKIT_SCAN_SOURCE={_SOURCE}"]
    env += [f"BUILDKIT_SCAN_SOURCE_EXTRAS={_EXTRAS}/"] if ref.extras else []
    env += [f"BUILDKIT_SCAN_{name}={value}" for name, value in sorted(parameters.items())]
    pinned = Reference(reference.domain, reference.path, reference.tag, image.digest)
    own = [] if ref.edge is None else [ref.edge]
    base = Vertex.of(SourceOp(f"docker-image://{pinned}"), platform=Platform.host()).output()
    op = ExecOp(
        args=args,
        env=tuple(env),
        cwd=config.working_dir or "/",
        mounts=(
            BuildMount("/", input=0, output=NO_OUTPUT),
            BuildMount("/tmp", Tmpfs()),
            BuildMount(_SOURCE, input=NO_INPUT if ref.edge is None else 1, readonly=True),
            *(
                BuildMount(f"{_EXTRAS}/{_CORE}-{name}", input=1 + len(own) + number, readonly=True)
                for number, name in enumerate(ref.extras)
            ),
            BuildMount(_DESTINATION.rstrip("/"), output=0),
        ),
    )
    metadata = Metadata(name=f"generating sbom using {reference.familiar}")
    return Vertex.of(op, [base, *own, *ref.extras.values()], platform=Platform.host(), metadata=metadata).output()
