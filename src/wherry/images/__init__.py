"""Images: their names, and how they come, go, and are looked at.

An *image* is a configuration and the layers that it lists; its ID is the configuration's digest. A *name* is a
repository with a tag; several may mean one image. Blobs belong to `wherry.content`, unpacked layers to
`wherry.layers`. Containers don't belong here: who uses an image is asked of the caller.
"""

from wherry.images.image import Image
from wherry.images.store import ImageStore

__all__ = ["Image", "ImageStore"]
