"""Images between machines: the OCI distribution protocol's client, and what pulls and pushes images through it.

`wherry.registry.client` speaks to a registry and knows nothing of images on disk; `wherry.registry.transfer` moves
images between a registry and `wherry.images`. Nothing in here knows about containers.

Sources: the OCI distribution specification 1.1 (spec.md), the token authentication specification of the distribution
project, and dockerd for the words and the order of what people see.
"""
