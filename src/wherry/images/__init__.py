"""Images: their names, and how they come, go, and are looked at.

An *image* is a configuration and the layers that it lists; its ID is the configuration's digest. A *name* is a
repository with a tag; several may mean one image. Blobs belong to `wherry.content`, unpacked layers to
`wherry.layers`. Containers don't belong here: who uses an image is asked of the caller.

Floors, lowest first: ``archive``, ``blob_sources``, ``expansion``, ``host_image``, ``image``, ``references``,
``remote_archive``; ``catalog``, ``compare``, ``config_changes``, ``fsck``, ``indexes``, ``inspect``, ``listing``,
``orphans``; ``checks``, ``load``, ``removal``, ``save``; ``importer``, ``platforms``; ``store``; ``disk_usage``.
"""
