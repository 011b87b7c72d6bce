"""The union file system: layers unpacked once, stacked by overlayfs, compared, and packed again.

A *layer* is a directory ``layers/<n>`` with one archive's changes: files as they are, deletions as overlayfs'
whiteouts (a character device 0:0, ``trusted.overlay.opaque``). It is named by its *chain ID*, since its meaning depends
on the layers below it. An *overlay mount* is a stack of such directories with a writable one on top; nothing in this
package mounts it. Names of images do not belong here, nor does anything about containers.

Floors, lowest first: ``compression``, ``limits``, ``overlay``, ``whiteouts``; ``overlay_view``, ``source``,
``tree_digest``; ``mountpoints``, ``tar``; ``pack``, ``tree``; ``diff``, ``export``, ``unpack``; ``store``.
"""
