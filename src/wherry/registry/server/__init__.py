"""The registry server: the OCI distribution specification 1.1, authentication, quotas, events, metrics.

::

    main        the program: options, workers, signals
    app         one request: authentication, authorisation, routing, answer
    manifests, blobs, uploads, listings     the endpoints
    catalog     repositories, as records in a storage
    gc          garbage collection while serving
    access/     who may do what: htpasswd, tokens, rules
    proxy/      the pull-through cache
    events, metrics, access_log             what others want to know

Bytes are kept by `wherry.registry.storage`; nothing in here opens a file of a storage. Nothing knows about containers
or about images on this machine.

Sources: the OCI distribution specification 1.1 (spec.md), the distribution project's token authentication
specification and notification envelope, RFC 9110 (conditional and range requests).

Floors, lowest first: ``access_log``, ``errors``, ``identity``, ``metrics``, ``records``, ``settings``; ``answers``,
``catalog``, ``check``, ``ranges``, ``routes``, ``sessions``, ``tls``; ``call``, ``gc``, ``quota``, ``several``;
``access``, ``engine``, ``events``, ``proxy``; ``registry``; ``blobs``, ``listings``, ``manifests``, ``uploads``;
``app``; ``composition``; ``reload``; ``serve``; ``workers``; ``main``.
"""
