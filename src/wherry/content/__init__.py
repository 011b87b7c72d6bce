"""Blobs on disk, named by their digest, in an OCI image layout that other tools can read.

:class:`ContentStore` holds the bytes of configurations, manifests and layers and knows nothing of what they mean: which
image needs which blob is `wherry.images`' business, unpacked layers are `wherry.layers`'.

Floors, lowest first: ``durable``; ``partial``, ``store``. ``thread_stream`` stands beside them: it brings bytes from a
thread to the event loop.
"""
