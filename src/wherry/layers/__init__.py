"""The union file system: layers unpacked once, piled by overlayfs, compared, and packed again.

A *layer* is a directory ``layers/<n>`` with one archive's changes: files as they are, deletions as overlayfs' own
marks (a character device 0:0, ``trusted.overlay.opaque``). It is named by its *chain ID*, since what it means depends
on the layers below it. An
*overlay mount* is a pile of such directories with a writable one on top; nothing in this package mounts it. Names of
images don't belong here, nor does anything about containers.
"""

from wherry.layers.diff import Change, ChangeKind, changes, write_layer
from wherry.layers.export import export
from wherry.layers.limits import Limits
from wherry.layers.overlay import OverlayMount, make_directories
from wherry.layers.store import Layer, LayerStore

__all__ = [
    "Change",
    "ChangeKind",
    "Layer",
    "LayerStore",
    "Limits",
    "OverlayMount",
    "changes",
    "export",
    "make_directories",
    "write_layer",
]
