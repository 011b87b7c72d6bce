"""Images become an archive that is a Docker archive and an OCI layout at once, as Docker writes it since version 25.

The blobs go in as they are, compressed or not; both formats allow either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from wherry.content.store import ContentStore
from wherry.docker.reference import Reference
from wherry.errors import InvalidInput
from wherry.images.catalog import Catalog
from wherry.images.image import Image
from wherry.layers.tar import writer
from wherry.layers.tar.entry import Entry, Kind
from wherry.oci.codec import encode
from wherry.oci.digest import Digest
from wherry.oci.manifest import Descriptor, Index
from wherry.oci.media_types import OCI_INDEX

if TYPE_CHECKING:
    from wherry.images.indexes import Tree

__all__ = ["Selection", "Trees", "blob_path", "save", "select", "write_blob", "write_directory", "write_document"]

_PIECE = 1024 * 1024

Selection = dict[Digest, tuple[Image, list[Reference]]]
#: By image and name: the index by which it came, if that is to be saved.
Trees = dict[tuple[Digest, str], "Tree"]


def select(catalog: Catalog, texts: Sequence[str]) -> Selection:
    """Find images by what a user calls them, with the names that they shall have in the archive.

    A repository without a tag means all its tags; an ID means the image without any name.

    :raises NotFound: there is no such image.
    :raises InvalidInput: the built-in image was asked for.
    """
    selection: Selection = {}
    for text in texts:
        for image, names in _selected(catalog, text):
            if image.built_in:
                raise InvalidInput(
                    f"the image {text!r} is this machine itself and cannot be saved",
                    hint="export a container of it instead",
                )
            known = selection.setdefault(image.id, (image, []))[1]
            known += [name for name in names if name not in known]
    return selection


def _selected(catalog: Catalog, text: str) -> list[tuple[Image, list[Reference]]]:
    try:
        reference = Reference.parse(text)
    except InvalidInput:
        return [(catalog.resolve(text), [])]
    if reference.tag is None and reference.digest is None:
        tagged = [(image, [one for one in image.names if one.name == reference.name and one.tag]) for image in catalog]
        if found := [(image, names) for image, names in tagged if names]:
            return found
    image = catalog.resolve(text)
    return [(image, [name for name in image.names if name == reference])]


def save(
    catalog: Catalog, content: ContentStore, selection: Selection, trees: Trees, write: Callable[[bytes], object]
) -> None:
    """Write the archive.

    :param trees: indexes that go in, with all of them that is here; readers of Docker archives see the one image.
    :param write: takes the archive's bytes, piece by piece.
    """
    write_directory(write, "blobs")
    write_directory(write, "blobs/sha256")
    index = [one for image, names in selection.values() for one in _entries(catalog, image, names, trees)]
    write_document(write, "oci-layout", {"imageLayoutVersion": "1.0.0"})
    write_document(write, "index.json", Index(index, schema_version=2, media_type=OCI_INDEX))
    write_document(write, "manifest.json", [_listed(image, names) for image, names in selection.values()])
    if repositories := _repositories(selection):
        write_document(write, "repositories", repositories)
    digests = [digest for image, _ in selection.values() for digest in _parts(image)]
    digests += [one.digest for tree in trees.values() for one in tree.present]
    for digest in dict.fromkeys(digests):
        write_blob(write, content, digest)
    write(writer.END)


def _entries(catalog: Catalog, image: Image, names: Sequence[Reference], trees: Trees) -> list[Descriptor]:
    """An image as ``index.json`` lists it."""
    found: list[Descriptor] = []
    for name in names:
        tree = trees.get((image.id, str(name)))
        listed = [replace(one, annotations=_noted(one, name)) for one in catalog.descriptors(image, [name])]
        found += [replace(tree.top, annotations=one.annotations) for one in listed] if tree else listed
    return found if names else catalog.descriptors(image, names)


def _noted(listed: Descriptor, name: Reference) -> dict[str, str] | None:
    """A reference's name is the tag alone (OCI image specification, annotations.md), which skopeo looks for."""
    if listed.annotations is None or not name.tag:
        return listed.annotations
    return {**listed.annotations, "org.opencontainers.image.ref.name": name.tag}


def _parts(image: Image) -> list[Digest]:
    return [image.manifest_digest, image.id, *(layer.digest for layer in image.manifest.layers)]


def _listed(image: Image, names: Sequence[Reference]) -> dict[str, Any]:
    return {
        "Config": blob_path(image.id),
        "RepoTags": [name.familiar for name in names] or None,
        "Layers": [blob_path(layer.digest) for layer in image.manifest.layers],
    }


def _repositories(selection: Selection) -> dict[str, dict[str, str]]:
    """The ``repositories`` file of Docker before 1.10; some tools still read names from it."""
    found: dict[str, dict[str, str]] = {}
    for image, names in selection.values():
        for name in names:
            if name.tag:
                found.setdefault(name.familiar_name, {})[name.tag] = image.id.hex
    return found


def blob_path(digest: Digest) -> str:
    """Where a blob is in an OCI layout."""
    return f"blobs/{digest.algorithm}/{digest.hex}"


def write_directory(write: Callable[[bytes], object], name: str) -> None:
    """Write a directory's entry."""
    write(writer.header(Entry(name.encode(), Kind.DIRECTORY, 0o755)))


def write_document(write: Callable[[bytes], object], name: str, value: Any) -> None:
    """Write a file of JSON."""
    data = encode(value)
    write(writer.header(Entry(name.encode(), size=len(data))) + data + writer.padding(len(data)))


def write_blob(write: Callable[[bytes], object], content: ContentStore, digest: Digest) -> None:
    """Write a blob of the content store.

    :raises NotFound: there is none.
    """
    size = content.size(digest)
    write(writer.header(Entry(blob_path(digest).encode(), size=size)))
    with content.open(digest) as file:
        while piece := file.read(_PIECE):
            write(piece)
    write(writer.padding(size))
