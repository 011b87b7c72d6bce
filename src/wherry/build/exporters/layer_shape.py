"""A snapshot's layers become those of an image: squashed, with older files, compressed, as an export's options want it.

Work for threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from wherry.build.exporters.layer_blobs import LayerForms, compression_of, typed
from wherry.build.exporters.options import ImageOptions, LayerPolicy
from wherry.layers.compression import Compression
from wherry.oci.digest import Digest
from wherry.oci.manifest import Descriptor

__all__ = ["ImageLayer", "first_squashed", "shaped"]


@dataclass(frozen=True, slots=True)
class ImageLayer:
    """One layer on its way into an image.

    :param directory: in overlayfs' form; empty for one that is not unpacked.
    :param of_base: whether it is the base image's.
    """

    diff_id: Digest
    blob: Descriptor
    directory: str = ""
    of_base: bool = False


def first_squashed(policy: LayerPolicy, layers: Sequence[ImageLayer]) -> int:
    """The number of the first layer that becomes part of a single one; that of all layers where none does."""
    if policy is LayerPolicy.ALL:
        return len(layers)
    begin = 0 if policy is LayerPolicy.NONE else sum(layer.of_base for layer in layers)
    return begin if len(layers) - begin > 1 else len(layers)


def shaped(
    layers: Sequence[ImageLayer], options: ImageOptions, epoch: int | None, forms: LayerForms
) -> list[ImageLayer]:
    """The layers as they go into the image, bottom first.

    :param epoch: of files in new layers, where they are to be rewritten.
    """
    found = _squashed(layers, options.layers, forms)
    if options.rewrite_timestamp and epoch is not None:
        found = [layer if layer.of_base else _older(layer, epoch, forms) for layer in found]
    return [replace(one, blob=typed(_compressed(one.blob, options, forms), oci=options.oci_types)) for one in found]


def _squashed(layers: Sequence[ImageLayer], policy: LayerPolicy, forms: LayerForms) -> list[ImageLayer]:
    begin = first_squashed(policy, layers)
    if begin == len(layers):
        return list(layers)
    directories = [layer.directory for layer in layers]
    blob = forms.squashed(directories[begin:][::-1], directories[:begin][::-1])
    return [*layers[:begin], ImageLayer(blob.digest, blob)]


def _older(layer: ImageLayer, epoch: int, forms: LayerForms) -> ImageLayer:
    blob = forms.rewritten(layer.blob, epoch)
    return ImageLayer(blob.digest, blob)


def _compressed(blob: Descriptor, options: ImageOptions, forms: LayerForms) -> Descriptor:
    wanted, present = options.compression, compression_of(blob.media_type)
    if wanted.kind is None or (present is wanted.kind and not (wanted.force and wanted.level is not None)):
        return blob
    if present is not Compression.PLAIN and not wanted.force:
        return blob
    return forms.recompressed(blob, wanted.kind, wanted.level)
