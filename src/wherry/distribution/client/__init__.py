"""The client's half of the OCI distribution specification: a registry's documents and blobs, in and out.

Every answer of a registry is taken for a lie until it is proven: lengths and digests are checked by whoever asked for
bytes, documents have a limit, redirections lose credentials, and the token server's address has to be plausible.

*domain*     what an image's name begins with: ``docker.io``, ``localhost:5000``
*endpoint*   where a domain is served: a mirror, or the registry itself; with or without TLS
*repository* one name's documents and blobs at one endpoint
*scope*      what a token allows: ``repository:library/busybox:pull``

Floors, lowest first: ``addresses``, ``challenge``, ``credentials``, ``errors``, ``settings``; ``endpoints``,
``public_resolver``, ``retry``; ``http``; ``tokens``; ``repository``.
"""
