"""The standards' data: digests, descriptors, manifests, image configurations, platforms, the runtime spec.

Glossary, used in the same sense by every package above this one:

*blob*       bytes, named by their digest
*descriptor* what names a blob from elsewhere: media type, digest, size
*manifest*   the JSON that lists an image's configuration and its layers
*index*      the JSON that lists manifests, one per platform
*layer*      a tar archive of changes to a file system
*diff ID*    the digest of a layer's uncompressed tar archive
*chain ID*   the digest that names a layer together with all the layers below it

Nothing in here reads or writes files.

Floors, lowest first: ``digest``, ``expressions``, ``media_types``, ``platform``, ``runtime_spec``, ``times``;
``codec``; ``image_config``, ``manifest``.
"""
