"""A registry: the server of the OCI distribution protocol, a program of its own, and its storage.

`wherry.registry.server` answers requests, `wherry.registry.storage` keeps bytes. The client is
`wherry.distribution.client`. Nothing here knows about images on this machine, or about containers.

Floors, lowest first: ``storage``; ``server``.
"""
