"""A registry: the server's half of the OCI distribution specification 1.1, and what a team needs around it.

::

    main        the program: options, workers, signals
    front       one request: who asks, may they, what do they want, what came of it
    manifests, blobs, uploads, listings     the endpoints
    catalog     repositories, as records in a storage
    collect     garbage collection while serving
    access/     who may do what: htpasswd, tokens, rules
    proxy       the pull-through cache
    events, metrics, access_log             what others want to know

Bytes are kept by `wherry.registry.storage`; nothing in here opens a file of a storage. Nothing knows about containers
or about images on this machine.

Sources: the OCI distribution specification 1.1 (spec.md), the distribution project's token authentication
specification and notification envelope, RFC 9110 (conditional and range requests).
"""
