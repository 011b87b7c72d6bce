"""A registry's storage: one contract, and its backends.

A *key* is a slash-separated name, ``repositories/team/app/_tags/1.0``; an *object* is the bytes under a key; an
*upload* is a growing, private run of bytes that becomes an object in one step. Storage knows nothing of digests,
repositories or HTTP: that is `wherry.registry.server`.

Floors, lowest first: ``contract``; ``filesystem``, ``memory``, ``s3``.
"""
