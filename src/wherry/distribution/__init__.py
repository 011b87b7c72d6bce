"""Images between machines: the client of the OCI distribution protocol, and pull and push built on it.

`wherry.distribution.client` speaks to a registry and knows nothing of images on disk; `wherry.distribution.transfer`
moves images between a registry and `wherry.images`. The server is `wherry.registry`. Containers do not belong here.

Sources: the OCI distribution specification 1.1 (spec.md), the token authentication specification of the distribution
project, and dockerd for the words and the order of the progress messages.

Floors, lowest first: ``client``; ``transfer``.
"""
