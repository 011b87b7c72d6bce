"""Statements about images: their provenance, and a bill of materials. In-toto statements, with what they are about."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any, Final
from urllib.parse import quote

import msgspec

from wherry.build.exporters.assembly import BuiltImage, Statements
from wherry.build.exporters.attestation_options import Wanted, wanted
from wherry.build.exporters.contract import Product
from wherry.build.exporters.image_config import canonical
from wherry.build.exporters.options import epoch_of
from wherry.build.exporters.packages import Package, System, find_packages
from wherry.build.exporters.provenance import predicate, predicate_type
from wherry.build.exporters.steps import step
from wherry.build.model.snapshot import Snapshot
from wherry.content.threads import Worker
from wherry.docker.reference import Reference
from wherry.errors import InvalidInput, TooLarge
from wherry.oci.digest import Digest
from wherry.oci.platform import Platform
from wherry.oci.times import rfc3339

__all__ = ["Attestations"]

Json = dict[str, Any]

_STATEMENT: Final = "https://in-toto.io/Statement/v1"
_SPDX: Final = "https://spdx.dev/Document"
_UNKNOWN: Final = "NOASSERTION"
_MOST: Final = 40 << 20  # bytes of a statement, as in BuildKit


class Attestations:
    """Makes the statements that a client wants. To be used on one event loop."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def __call__(self, product: Product, names: Sequence[Reference], *, inline: bool) -> Statements | None:
        """How to make the statements about each image; None: nothing is to be said.

        :param names: the image's.
        :param inline: whether those are wanted that are only for images with nothing else beside them.
        :raises InvalidInput: what the client wants stated makes no sense.
        """
        asked = wanted(product.request.options, inline=inline)
        if asked.provenance is None and not asked.sbom:
            return None

        async def make(image: BuiltImage) -> list[tuple[str, bytes]]:
            return await self._make(product, names, asked, image)

        return make

    async def _make(
        self, product: Product, names: Sequence[Reference], asked: Wanted, image: BuiltImage
    ) -> list[tuple[str, bytes]]:
        subjects = _subjects(names, image.platform, image.manifest.descriptor.digest)
        epoch = epoch_of({}, product.result.metadata, image.key)
        found: list[tuple[str, bytes]] = []
        if asked.sbom:
            at = product.started if epoch is None else epoch
            scans = self._scanned(product, asked, image) if asked.scanner else self._own(product, names, image, at)
            made_of = await scans
            found += await self._worker.run(
                lambda check: [(_SPDX, _statement(_SPDX, subjects, one)) for one in made_of]
            )
        if asked.provenance is not None:
            kind = predicate_type(asked.provenance)
            made = predicate(product, image.key, asked.provenance, finished=time.time_ns(), epoch=epoch)
            found.append((kind, _statement(kind, subjects, made)))
        return found

    async def _own(self, product: Product, names: Sequence[Reference], image: BuiltImage, at: int) -> list[Json]:
        more = await product.extras(image.key) if product.extras is not None else {}
        with step(product, "generating sbom"):
            layers = product.snapshots.get(image.key, Snapshot()).lower
            system, packages = await self._worker.run(lambda check: find_packages(layers, check))
            documents = [_spdx(system, packages, names, image, at)]
            for name, snapshot in more.items():
                system, packages = await self._worker.run(partial(find_packages, snapshot.lower))
                documents.append(_spdx(system, packages, names, image, at, extra=name))
            return documents

    async def _scanned(self, product: Product, asked: Wanted, image: BuiltImage) -> list[Json]:
        """What the client's scanner image says."""
        assert product.scan is not None, "every build can"
        written = await product.scan(asked.scanner, asked.parameters, image.key)
        if not written:
            raise InvalidInput(f"the SBOM scanner {asked.scanner[:200]!r} has written nothing")
        return await self._worker.run(lambda check: [_document_in(data) for data in written])


def _document_in(data: bytes) -> Json:
    """The SPDX document in what a scanner has written.

    :raises InvalidInput: there is none.
    """
    try:
        found = msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError) as exc:
        raise InvalidInput("what the SBOM scanner has written is no JSON", cause=str(exc)) from exc
    kind = _SPDX if "spdxVersion" in found else found.get("predicateType")
    document = found if "spdxVersion" in found else found.get("predicate")
    if kind != _SPDX or not isinstance(document, dict):
        raise InvalidInput(f"bundle entry {str(kind)[:100]} does not match required predicate type {_SPDX}")
    return document


def _statement(kind: str, subjects: Sequence[Json], made: Json) -> bytes:
    data = canonical({"_type": _STATEMENT, "predicateType": kind, "subject": subjects, "predicate": made})
    if len(data) > _MOST:
        raise TooLarge(f"the statement of {len(data)} bytes about the image is too large")
    return data


def _subjects(names: Sequence[Reference], platform: Platform, digest: Digest) -> list[Json]:
    """What the statement is about: a package URL for each name (package-url/purl-spec, "docker")."""
    urls = [
        f"pkg:docker/{quote(name.familiar_name, safe='/')}@{quote(name.tag or '', safe='')}"
        f"?platform={quote(str(platform.normalised()), safe='')}"
        for name in names
    ]
    return [{"name": url, "digest": {digest.algorithm: digest.hex}} for url in urls or ["_"]]


def _spdx(
    system: System,
    packages: Sequence[Package],
    names: Sequence[Reference],
    image: BuiltImage,
    at: int,
    *,
    extra: str = "",
) -> Json:
    """A bill of materials (SPDX 2.3).

    :param extra: what it lists in place of the image: a stage, or the context; empty: the image.
    """
    about = f"-{extra}" if extra else ""
    digest = image.manifest.descriptor.digest
    root = "SPDXRef-DocumentRoot-Image"
    listed = [_spdx_package(f"SPDXRef-Package-{number}", package, system) for number, package in enumerate(packages)]
    top: Json = {
        "SPDXID": root, "name": names[0].familiar_name if names else "image", "versionInfo": str.__str__(digest),
        "downloadLocation": _UNKNOWN, "filesAnalyzed": False, "primaryPackagePurpose": "CONTAINER",
        "checksums": [{"algorithm": digest.algorithm.upper(), "checksumValue": digest.hex}],
    }  # fmt: skip
    relations = [
        {"spdxElementId": root, "relatedSpdxElement": one["SPDXID"], "relationshipType": "CONTAINS"} for one in listed
    ]
    describes = {"spdxElementId": "SPDXRef-DOCUMENT", "relatedSpdxElement": root, "relationshipType": "DESCRIBES"}
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"sbom{about}-{digest.hex}",
        "documentNamespace": f"https://spdx.org/spdxdocs/wherry-{digest.hex}{about}",
        "creationInfo": {"created": rfc3339(at // 1_000_000_000 * 1_000_000_000), "creators": ["Tool: wherry"]},
        "comment": system.name,
        "packages": [top, *listed],
        "relationships": [describes, *relations],
    }


def _spdx_package(identifier: str, package: Package, system: System) -> Json:
    shown: Json = {
        "SPDXID": identifier, "name": package.name, "versionInfo": package.version, "supplier": _UNKNOWN,
        "downloadLocation": _UNKNOWN, "filesAnalyzed": False, "licenseConcluded": _UNKNOWN,
        "licenseDeclared": _UNKNOWN, "copyrightText": _UNKNOWN, "sourceInfo": f"found in {package.path}",
        "externalRefs": [
            {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": package.url(system)}
        ],
    }  # fmt: skip
    if package.license:
        shown["licenseComments"] = package.license
    return shown
